//! Executes a request by the registry's maintenance functions and converts the results to responses. Called by the
//! server, and by a command if no server has the volume open.

use std::{ops::ControlFlow, time::Duration};

use super::{
    AdminRequest, AdminResponse, content,
    retention_messages::{ExpiredTag, RetentionResult},
};
use crate::{
    config::RetentionRule,
    registry::{Collection, Error, Maintenance, Mode, RetentionEvent, VERIFY_SHARDS, Verification},
};

/// The values that requests omit.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// The grace period of garbage collection.
    pub grace: Duration,
    /// The read rate of verification, in bytes per second.
    pub rate: u64,
    /// The longest manifest that may be pushed, in bytes; `None` for any.
    pub longest_manifest: Option<u64>,
}

/// Executes a request, and returns the last response. Blocks until it is done. `send` takes the other responses, and
/// returns `Break` to cancel the request.
pub fn dispatch(
    request: &AdminRequest,
    volume: &Maintenance<'_>,
    defaults: Defaults,
    mut send: impl FnMut(AdminResponse) -> ControlFlow<()>,
) -> AdminResponse {
    execute(request, volume, defaults, &mut send)
        .unwrap_or_else(|error| AdminResponse::Failed { message: error.to_string() })
}

fn execute(
    request: &AdminRequest,
    volume: &Maintenance<'_>,
    defaults: Defaults,
    send: &mut dyn FnMut(AdminResponse) -> ControlFlow<()>,
) -> Result<AdminResponse, Error> {
    Ok(match request {
        &AdminRequest::Gc { untagged, dry_run, grace } => {
            let grace = grace.map_or(defaults.grace, Duration::from_millis);
            let mut done = 0;
            let collection = Collection { untagged, mode: Mode::new(dry_run), grace };
            let collected = volume.collect(collection, &mut |event| send(AdminResponse::found(event, &mut done)))?;
            AdminResponse::collected(collected, dry_run)
        }
        &AdminRequest::Retention { dry_run, grace } => {
            let grace = grace.map_or(defaults.grace, Duration::from_millis);
            let (rules, mut done) = (volume.retention_rules(), 0);
            let retained = volume
                .retain(Mode::new(dry_run), grace, &mut |event| send(retention_event(&event, rules, &mut done)))?;
            AdminResponse::Retained(RetentionResult::new(retained, rules, dry_run))
        }
        AdminRequest::Verify { rate } => {
            let verification = Verification { rate: rate.unwrap_or(defaults.rate), steps: 0..VERIFY_SHARDS };
            AdminResponse::verified(volume.verify(&verification, &mut |event| send(AdminResponse::checked(event)))?)
        }
        AdminRequest::RebuildIndex => {
            volume.rebuild_index()?;
            AdminResponse::Rebuilt
        }
        AdminRequest::Rm { name, dry_run } => match AdminRequest::removal(name) {
            Ok((repository, None)) => {
                AdminResponse::removed(volume.remove(&repository, Mode::new(*dry_run)), name, *dry_run)
            }
            Ok((repository, Some(tag))) => {
                AdminResponse::removed(volume.remove_tag(&repository, &tag, Mode::new(*dry_run)), name, *dry_run)
            }
            Err(message) => AdminResponse::Failed { message },
        },
        AdminRequest::Warm { .. } | AdminRequest::Export { .. } | AdminRequest::Import(_) => {
            let message = "only a running server has images: start one with `entrepot serve`".to_owned();
            AdminResponse::Failed { message }
        }
        AdminRequest::Content(request) => match content::execute(request, volume, send) {
            Ok(last) => last,
            Err(error) => AdminResponse::Failed { message: error.to_string() },
        },
        AdminRequest::Du { tags } => match AdminRequest::disk_usage(tags.as_ref()) {
            Ok(count) => {
                AdminResponse::Counted(volume.count(&count, &mut |event| send(AdminResponse::usage(event)))?.into())
            }
            Err(message) => AdminResponse::Failed { message },
        },
    })
}

/// Returns the response for an event of retention. `done` counts the repositories processed.
fn retention_event(event: &RetentionEvent, rules: &[RetentionRule], done: &mut u64) -> AdminResponse {
    match event {
        RetentionEvent::Repository => {
            *done += 1;
            AdminResponse::Progress { done: *done, of: None, bytes: 0 }
        }
        RetentionEvent::Manifest(repository, digest) => {
            AdminResponse::Manifest { repository: repository.to_string(), digest: digest.to_string() }
        }
        RetentionEvent::Tag(expiry) => AdminResponse::Expired(ExpiredTag::new(expiry, rules)),
    }
}
