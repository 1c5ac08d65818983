//! `entrepot purge`: removes mirrored images from the cache.

use clap::Args;

use super::{
    ConfigOptions, Failure, client,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, ContentRequest},
    lanes::Blocking,
    registry::PurgeTarget,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct PurgeOptions {
    /// Images as docker takes them, or patterns, which have a *: nginx:1.27, 'docker.io/library/nginx:*', 'ghcr.io/**'.
    #[arg(value_name = "IMAGE|PATTERN", required = true, value_parser = target)]
    images: Vec<String>,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
A tag goes with its manifest, the manifests and layers that this leads to, and the bytes that nobody else holds; what \
another tag or repository holds stays there. The next request asks the upstream. A pull under way ends whole, and \
the bytes that it reads go after that. nginx means nginx:latest; of whole repositories, write a pattern. What was \
pushed here is not purged: see `entrepot rm`.

With --dry-run the figures are those of the purge: bytes are what becomes free, as `entrepot du` counts it.

Examples:
  entrepot purge nginx:1.27 --dry-run --data ./registry
  entrepot purge 'docker.io/library/nginx:*' ghcr.io/org/app@sha256:… --data ./registry
  entrepot purge 'quay.io/**' --data ./registry

Exit codes: 0 it is done, 1 it failed or nothing of a name is here, 2 it was asked wrongly.";

fn target(text: &str) -> Result<String, String> {
    PurgeTarget::parse(text).map(|_| text.to_owned())
}

pub(super) fn run(io: &Blocking, options: PurgeOptions) -> Result<(), Failure> {
    let PurgeOptions { images, dry_run, json, source } = options;
    let config = source.load(io)?.config;
    let request = AdminRequest::Content(ContentRequest::Purge { images, dry_run });
    let mut report = Report::new(Form::of(json), dry_run);
    client::perform(io, &config.storage, &request, |answer| report.show(answer)).map(drop)
}
