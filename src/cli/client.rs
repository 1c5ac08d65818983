//! Executes a command's request: through the admin socket of the server that uses the volume, or in this process if
//! there is none.

use std::{
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::Path,
    time::Duration,
};

use super::{Failure, logging, volume};
use crate::{
    admin::{self, Request, Response},
    config,
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    registry::{self, Collection, VERIFY_SHARDS, Verification, Volume},
    storage::Storage,
};

/// Executes the request and shows each response. Returns the last one.
pub(super) fn perform(
    config: &config::Storage,
    request: &Request,
    mut show: impl FnMut(&Response),
) -> Result<Response, Failure> {
    let root = &config.rootdirectory;
    match std::fs::metadata(root.value()) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Failure::usage(root.error("a directory"))),
        Err(error) => return Err(Failure::usage(root.error(format!("a directory that is there ({error})")))),
    }
    let last = match Storage::is_in_use(root.value()).map_err(Failure::failed)? {
        true => ask(root.value(), request, &mut show)?,
        false => alone(config, request, &mut show).map_err(Failure::failed)?,
    };
    show(&last);
    match last {
        Response::Failed { message } => Err(Failure::failed(message)),
        last => Ok(last),
    }
}

fn ask(root: &Path, request: &Request, show: &mut impl FnMut(&Response)) -> Result<Response, Failure> {
    let unanswered = |error: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "{} is in use by a process that cannot be asked: {error}; nothing was looked at, nothing removed",
            root.display()
        ))
    };
    let mut stream = admin::connect(root).map_err(|error| unanswered(&error))?;
    let line = serde_json::to_string(request).map_err(Failure::failed)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(|error| unanswered(&error))?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| Failure::failed(format!("the server left in the middle: {error}")))?;
        let answer: Response = serde_json::from_str(&line)
            .map_err(|error| Failure::failed(format!("the server is of another version: {error}")))?;
        if answer.is_last() {
            return Ok(answer);
        }
        show(&answer);
    }
    Err(Failure::failed("the server left in the middle: what was done until then is done"))
}

fn alone(
    config: &config::Storage,
    request: &Request,
    show: &mut impl FnMut(&Response),
) -> Result<Response, Box<dyn std::error::Error>> {
    logging::start_for_command();
    let storage = Storage::open(config.rootdirectory.value(), volume::limits(config))?;
    let index = Index::open(&storage.index_dir());
    let volume = Volume::new(storage, index, config.pinned.value().clone(), Metrics::new()?.into(), Lanes::new()?);
    let done = on(&volume, request, show);
    volume.close();
    Ok(done?)
}

fn on(volume: &Volume, request: &Request, show: &mut impl FnMut(&Response)) -> Result<Response, registry::Error> {
    match request {
        &Request::Gc { untagged, dry_run, .. } => {
            let mut done = 0;
            let mut on_event = |found| {
                show(&Response::found(found, &mut done));
                ControlFlow::Continue(())
            };
            // No server is running, so no push is in progress, and no grace is needed.
            let collection = Collection { untagged, dry: dry_run, grace: Duration::ZERO };
            Ok(Response::collected(volume.collect(collection, &mut on_event)?, dry_run))
        }
        &Request::Verify { rate } => {
            let mut on_event = |checked| {
                show(&Response::checked(checked));
                ControlFlow::Continue(())
            };
            let verification = Verification { rate: rate.unwrap_or(u64::MAX), steps: 0..VERIFY_SHARDS };
            Ok(Response::verified(volume.verify(&verification, &mut on_event)?))
        }
        Request::RebuildIndex => {
            volume.rebuild_index()?;
            Ok(Response::Rebuilt)
        }
        Request::Rm { name, dry_run } => Ok(match Request::repository(name) {
            Ok(name) => Response::removed(volume.remove(&name, *dry_run), &name, *dry_run),
            Err(message) => Response::Failed { message },
        }),
        Request::Du { tags } => {
            let mut on_event = |event| {
                show(&Response::usage(event));
                ControlFlow::Continue(())
            };
            match Request::disk_usage(tags.as_ref()) {
                Ok(count) => Ok(Response::Counted(volume.count(&count, &mut on_event)?.into())),
                Err(message) => Ok(Response::Failed { message }),
            }
        }
    }
}
