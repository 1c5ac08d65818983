//! `entrepot refresh`: asks upstreams about tags now.

use clap::Args;

use super::{
    ConfigOptions, Failure, client,
    report::{Form, Report},
};
use crate::{
    admin::{AdminRequest, AdminResponse, ContentRequest, ContentResponse},
    lanes::Blocking,
    oci::ImageName,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct RefreshOptions {
    /// Images with tags, as docker takes them.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<ImageName>,
    /// Write each answer as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
The running server asks the upstream what the tag names, however fresh the last answer is, and fetches the manifest if \
it is another one; `entrepot warm` fetches the layers, too. If the upstream does not answer, what is cached stays.

Examples:
  entrepot refresh nginx:1.27 --data ./registry
  entrepot refresh ghcr.io/org/app:edge --json | jq -r .result

Exit codes: 0 all were asked about, 1 some failed, or no server runs, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: RefreshOptions) -> Result<(), Failure> {
    let RefreshOptions { images, json, source } = options;
    let config = source.load(io)?.config;
    let images = images.iter().map(ToString::to_string).collect();
    let request = AdminRequest::Content(ContentRequest::Refresh { images });
    let mut report = Report::new(Form::of(json), false);
    match client::ask_running(io, &config.storage, &request, |answer| report.show(answer))? {
        AdminResponse::Content(ContentResponse::RefreshEnd { failed, images }) if failed > 0 => {
            Err(Failure::failed(format!("{failed} of {images} images could not be asked about")))
        }
        _ => Ok(()),
    }
}
