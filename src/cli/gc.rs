//! `entrepot gc`: removes content that nothing refers to.

use std::time::Duration;

use clap::Args;

use super::{
    ConfigArguments, Failure, client, milliseconds,
    report::{Form, Report},
};
use crate::{admin::AdminRequest, lanes::Blocking};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct GcOptions {
    /// Remove manifests that no tag reaches, too.
    #[arg(long)]
    untagged: bool,
    /// Only list what would go.
    #[arg(long)]
    dry_run: bool,
    /// A shorter grace than gc.grace: how long what nothing names yet is left alone after it was uploaded, mounted or
    /// found by a HEAD.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigArguments,
}

pub(super) const HELP: &str = "\
A running server is asked to do it, and goes on serving: blobs of a push under way are left alone for
gc.grace (1h) after they were uploaded, mounted or found. Without one, this process does it, at once.
The server also does it by itself, every gc.interval (24h; 0 = never).

Exit codes: 0 it is done, 1 it failed, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: GcOptions) -> Result<(), Failure> {
    let GcOptions { untagged, dry_run, grace, json, source } = options;
    let config = source.load(io)?.config;
    let request =
        AdminRequest::Gc { untagged: untagged || *config.gc.untagged, dry_run, grace: grace.map(milliseconds) };
    let mut report = Report::new(Form::of(json), dry_run);
    client::perform(io, &config.storage, &request, |answer| report.show(answer)).map(drop)
}
