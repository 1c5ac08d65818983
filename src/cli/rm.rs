//! `entrepot rm`: removes a pushed repository and frees its name, or removes one of its tags.

use clap::Args;

use super::{
    ConfigArguments, Failure, client,
    report::{Form, Report},
};
use crate::{admin::AdminRequest, lanes::Blocking};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct RmOptions {
    /// The repository, such as team/app, or one tag of it: team/app:1.4.
    #[arg(value_name = "NAME[:TAG]", value_parser = name)]
    name: String,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigArguments,
}

pub(super) const HELP: &str = "\
All tags, manifests and links of the repository go at once, and nobody is asked first: --dry-run says what
would go. Their bytes go with the next collection, unless another repository links them. From then on the
name is as if nothing had been pushed: requests for it go to the upstream, and whoever pushes to it first
claims it. A running server is asked to do it. What proxy.hosted lists stays this registry's own.

With a tag, that tag goes, immutable or not, with the manifests that only it leads to. The name stays claimed.

Examples:
  entrepot rm team/app --dry-run --data ./registry
  entrepot rm team/app:1.4 --data ./registry

Exit codes: 0 it is done, 1 it failed or nothing of that name is here, 2 it was asked wrongly.";

fn name(text: &str) -> Result<String, String> {
    AdminRequest::removal(text).map(|_| text.to_owned())
}

pub(super) fn run(io: &Blocking, options: RmOptions) -> Result<(), Failure> {
    let RmOptions { name, dry_run, json, source } = options;
    let config = source.load(io)?.config;
    let request = AdminRequest::Rm { name, dry_run };
    let mut report = Report::new(Form::of(json), dry_run);
    client::perform(io, &config.storage, &request, |answer| report.show(answer)).map(drop)
}
