//! `entrepot pin` and `entrepot unpin`: keep mirrored repositories from eviction, beside `storage.pinned`.

use clap::Args;

use super::{
    ConfigOptions, Failure, client,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, ContentRequest},
    lanes::Blocking,
    oci::NamePattern,
};

/// The arguments of `pin`.
#[derive(Debug, Args, PartialEq)]
pub(super) struct PinOptions {
    /// Patterns of repositories, as in storage.pinned: library/nginx, 'ghcr.io/team/**'. Without any, the pins are
    /// listed.
    #[arg(value_name = "REPOSITORY")]
    patterns: Vec<NamePattern>,
    #[command(flatten)]
    common: CommonOptions,
}

/// The arguments of `unpin`.
#[derive(Debug, Args, PartialEq)]
pub(super) struct UnpinOptions {
    /// The patterns as they were pinned.
    #[arg(value_name = "REPOSITORY", required = true)]
    patterns: Vec<NamePattern>,
    #[command(flatten)]
    common: CommonOptions,
}

#[derive(Debug, Args, PartialEq)]
struct CommonOptions {
    /// Write the answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
The content of a pinned repository is never evicted; `entrepot purge` removes it all the same. These pins are kept in \
the data directory, beside those of storage.pinned in the configuration, over restarts and without an index.

Examples:
  entrepot pin library/nginx 'ghcr.io/team/**' --data ./registry
  entrepot pin --data ./registry
  entrepot unpin library/nginx --data ./registry

Exit codes: 0 it is done, 1 it failed, or there is no such pin, 2 it was asked wrongly.";

pub(super) fn pin(io: &Blocking, options: PinOptions) -> Result<(), Failure> {
    let patterns = written(&options.patterns);
    let request = if patterns.is_empty() { ContentRequest::Pins } else { ContentRequest::Pin { patterns } };
    perform(io, request, options.common)
}

pub(super) fn unpin(io: &Blocking, options: UnpinOptions) -> Result<(), Failure> {
    perform(io, ContentRequest::Unpin { patterns: written(&options.patterns) }, options.common)
}

fn written(patterns: &[NamePattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn perform(io: &Blocking, request: ContentRequest, common: CommonOptions) -> Result<(), Failure> {
    let config = common.source.load(io)?.config;
    let mut report = Report::new(if common.json { Form::Json } else { Form::People }, false);
    let request = AdminRequest::Content(request);
    client::perform(io, &config.storage, &request, |answer| report.show(answer)).map(drop)
}
