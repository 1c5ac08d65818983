//! `entrepot garbage-collect`: garbage collection with the command line of `registry:2`.

use clap::{ArgAction, Args};

use super::{
    ConfigArguments, Failure, client,
    report::{Form, Report},
};
use crate::{admin::AdminRequest, lanes::Blocking};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct GarbageCollectOptions {
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
    pub(super) source: ConfigArguments,
}

/// Parses a Go boolean flag, whose value is joined by `=`: scripts contain `--delete-untagged=true`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Asks the server that uses the volume to collect, or collects in this process if there is none, as `registry:2` does.
pub(super) fn run(io: &Blocking, options: GarbageCollectOptions) -> Result<(), Failure> {
    let GarbageCollectOptions { dry_run, delete_untagged, quiet, source } = options;
    let config = source.load(io)?.config;
    let request = AdminRequest::Gc { untagged: delete_untagged, dry_run, grace: None };
    let mut report = Report::new(if quiet { Form::Quiet } else { Form::People }, dry_run);
    client::perform(io, &config.storage, &request, |answer| report.show(answer)).map(drop)
}
