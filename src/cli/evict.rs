//! `entrepot evict`: evicts mirrored content until all that is stored is small enough.

use clap::Args;

use super::{
    ConfigOptions, Failure, client,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse, ContentRequest, ContentResponse},
    config,
    lanes::Blocking,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct EvictOptions {
    /// The size that may stay, such as 20GB: everything that the quota counts, pushed content included.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    to: u64,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Write the answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
Mirrored content is evicted in the usual order, the least valuable first (docs/eviction.md). What was pushed, is \
pinned, is being read, or was asked for within storage.lease stays; without a server, there are no leases. With \
--dry-run the result is an estimate, since folders and links become free, too.

Examples:
  entrepot evict --to 20GB --dry-run --data ./registry
  entrepot evict --to 0 --data ./registry

Exit codes: 0 no more than that is stored now, 1 more is stored, since the rest may not be evicted, or it failed, 2 it \
was asked wrongly.";

fn size(text: &str) -> Result<u64, String> {
    config::bytes(text).ok_or_else(|| "expected a size such as 20GB".to_owned())
}

pub(super) fn run(io: &Blocking, options: EvictOptions) -> Result<(), Failure> {
    let EvictOptions { to, dry_run, json, source } = options;
    let config = source.load(io)?.config;
    let request = AdminRequest::Content(ContentRequest::Evict { to, dry_run });
    let mut report = Report::new(Form::of(json), dry_run);
    match client::perform(io, &config.storage, &request, |answer| report.show(answer))? {
        AdminResponse::Content(ContentResponse::Evicted(evicted)) if evicted.after > to => Err(Failure::failed(
            "more than that stays: it was pushed, is pinned, is in use, or was asked for within storage.lease",
        )),
        _ => Ok(()),
    }
}
