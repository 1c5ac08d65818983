//! `entrepot garbage-collect`, spelt as `registry:2` spells it.

use clap::{ArgAction, Args};

use super::{
    Failure, Source, client,
    report::{Form, Report},
};
use crate::admin::Request;

/// What to collect, and how.
#[derive(Debug, Args, PartialEq)]
pub(super) struct Options {
    /// Only say what would go.
    #[arg(short = 'd', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) dry_run: bool,
    /// Remove manifests without a tag, too.
    #[arg(short = 'm', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) delete_untagged: bool,
    /// Say nothing but errors.
    #[arg(short = 'q', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_value_t = false, default_missing_value = "true", hide_default_value = true, value_parser = go_bool)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) source: Source,
}

/// Go's flags take a value when it is joined by `=`: `--delete-untagged=true` stands in many a crontab.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Has the server collect that has the volume; collects alone where none has it, as that program does.
pub(super) fn run(options: Options) -> Result<(), Failure> {
    let Options { dry_run, delete_untagged, quiet, source } = options;
    let config = source.load()?.config;
    let request = Request::Gc { untagged: delete_untagged, dry_run, grace: None };
    let mut report = Report::new(if quiet { Form::Quiet } else { Form::People }, dry_run);
    client::perform(&config.storage, &request, |answer| report.show(answer)).map(drop)
}
