//! Executes a request by the registry's maintenance functions and converts the results to responses. Called by the
//! server, and by a command if no server has the volume open.

use std::{ops::ControlFlow, time::Duration};

use super::{Request, Response};
use crate::registry::{Collection, Error, Maintenance, Mode, VERIFY_SHARDS, Verification};

/// The defaults for values that a request omits.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// The grace period of garbage collection.
    pub grace: Duration,
    /// The read rate of verification, in bytes per second.
    pub rate: u64,
}

/// Executes a request, and returns the last response. Blocks until it is done. `send` takes the other responses, and
/// returns `Break` to cancel the request.
pub fn dispatch(
    request: &Request,
    volume: &Maintenance<'_>,
    defaults: Defaults,
    mut send: impl FnMut(Response) -> ControlFlow<()>,
) -> Response {
    execute(request, volume, defaults, &mut send)
        .unwrap_or_else(|error| Response::Failed { message: error.to_string() })
}

fn execute(
    request: &Request,
    volume: &Maintenance<'_>,
    defaults: Defaults,
    send: &mut dyn FnMut(Response) -> ControlFlow<()>,
) -> Result<Response, Error> {
    Ok(match request {
        &Request::Gc { untagged, dry_run, grace } => {
            let grace = grace.map_or(defaults.grace, Duration::from_millis);
            let mut done = 0;
            let collection = Collection { untagged, mode: Mode::new(dry_run), grace };
            let collected = volume.collect(collection, &mut |event| send(Response::found(event, &mut done)))?;
            Response::collected(collected, dry_run)
        }
        Request::Verify { rate } => {
            let verification = Verification { rate: rate.unwrap_or(defaults.rate), steps: 0..VERIFY_SHARDS };
            Response::verified(volume.verify(&verification, &mut |event| send(Response::checked(event)))?)
        }
        Request::RebuildIndex => {
            volume.rebuild_index()?;
            Response::Rebuilt
        }
        Request::Rm { name, dry_run } => match Request::repository(name) {
            Ok(name) => Response::removed(volume.remove(&name, Mode::new(*dry_run)), &name, *dry_run),
            Err(message) => Response::Failed { message },
        },
        Request::Du { tags } => match Request::disk_usage(tags.as_ref()) {
            Ok(count) => Response::Counted(volume.count(&count, &mut |event| send(Response::usage(event)))?.into()),
            Err(message) => Response::Failed { message },
        },
    })
}
