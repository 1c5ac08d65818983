//! `entrepot verify`: hashes all stored content again and repairs what is damaged.

use clap::Args;

use super::{
    ConfigArguments, Failure, client,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse},
    config,
    lanes::Blocking,
};

/// The exit code if pushed content is damaged, which no upstream can replace.
const EXIT_DAMAGED: u8 = 3;

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct VerifyOptions {
    /// The most bytes a second to read, in place of verify.rate.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    rate: Option<u64>,
    /// Make the index anew from what is on disk, instead.
    #[arg(long)]
    rebuild_index: bool,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigArguments,
}

pub(super) const HELP: &str = "\
Damaged blobs that came from an upstream are dropped, and fetched again when they are asked for. Damaged
ones that were pushed here go to quarantine/ and are named here; an upstream that has them too restores
them at once, and so does a push. What there turns out to be right is taken back. A blob that cannot be
read stays where it is, and fails the command. A running server is asked to do it, and does it by itself besides:
everything once in verify.interval (720h; 0 = never).

Exit codes: 0 all is whole, 1 it failed, 2 it was asked wrongly, 3 something pushed is damaged.";

fn rate(text: &str) -> Result<u64, String> {
    config::bytes(text).filter(|rate| *rate > 0).ok_or_else(|| "expected a number of bytes such as 50MB".to_owned())
}

pub(super) fn run(io: &Blocking, options: VerifyOptions) -> Result<(), Failure> {
    let VerifyOptions { rate, rebuild_index, json, source } = options;
    let config = source.load(io)?.config;
    let rate = Some(rate.unwrap_or(*config.verify.rate));
    let request = if rebuild_index { AdminRequest::RebuildIndex } else { AdminRequest::Verify { rate } };
    let mut report = Report::new(Form::of(json), false);
    match client::perform(io, &config.storage, &request, |answer| report.show(answer))? {
        AdminResponse::Verified { quarantined, .. } if quarantined > 0 => Err(Failure {
            message: format!("{quarantined} blobs that were pushed here are damaged: push them again"),
            code: EXIT_DAMAGED,
        }),
        _ => Ok(()),
    }
}
