//! `entrepot warm`: fetches images into the cache of the running server ahead of their pulls.

mod bars;
mod warm_report;

use clap::Args;

use self::warm_report::WarmReport;
use super::{ConfigOptions, Failure, client, image_list::ImageArguments};
use crate::{
    admin::{AdminRequest, AdminResponse},
    lanes::Blocking,
};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct WarmOptions {
    #[command(flatten)]
    images: ImageArguments,
    /// Write a line of JSON for each image: { image, result, digest, fetched, present, error }.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigOptions,
}

// Wrapped where it is shown.
pub(super) const HELP: &str = "\
The running server fetches the images as for a pull: what is here already is not fetched, what a client pulls at \
the same time is fetched once, and all of it counts as used now. It stops when this command is ended. Of an \
image for several platforms, the one of this machine is fetched, or those that --platform names.

A --file is read as a compose file (services.*.image, with ${VAR:-default} from the environment) or as \
Kubernetes YAML (every container's image, and image volumes) if it is one; else it has one image a line, and # \
begins a comment. Names are completed as docker does: nginx is docker.io/library/nginx:latest. A registry has to \
be one of the server's upstreams; a repository that was pushed here counts as here.

With --json, result is warmed, stale (the upstream could not be asked whether the tag has moved) or failed, and \
fetched and present are bytes.

Examples:
  entrepot warm --data ./registry nginx:1.27 postgres:17
  entrepot warm --data ./registry --file compose.yaml --platform linux/amd64,linux/arm64
  kubectl get pods -A -o yaml | entrepot warm --file - --data ./registry

The server does it by itself, too, for the images in proxy.warm, every proxy.warminterval (1h).

Exit codes: 0 all images are here, 1 some failed, or no server runs, 2 it was asked wrongly.";

pub(super) fn run(io: &Blocking, options: WarmOptions) -> Result<(), Failure> {
    let WarmOptions { images, json, source } = options;
    let (platforms, names) = (images.platforms(), images.images(io)?);
    let config = source.load(io)?.config;
    let request = AdminRequest::Warm { images: names.iter().map(ToString::to_string).collect(), platforms };
    let mut report = WarmReport::new(json);
    let asked = client::ask_running(io, &config.storage, &request, |answer| report.show(answer));
    report.close();
    match asked? {
        AdminResponse::Warmed { failed, images, .. } if failed > 0 => {
            Err(Failure::failed(format!("{failed} of {images} images failed")))
        }
        _ => Ok(()),
    }
}
