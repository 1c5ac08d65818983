//! Executes requests about content by the registry's maintenance functions.

use std::ops::ControlFlow;

use super::{AdminResponse, ContentRequest, ContentResponse};
use crate::{
    oci::{ImageName, NamePattern},
    registry::{Error, ListEvent, Listing, Maintenance, Mode, PurgeTarget, Selection},
};

/// Executes a request, and returns the last response. `send` takes the others.
pub(super) fn execute(
    request: &ContentRequest,
    volume: &Maintenance<'_>,
    send: &mut dyn FnMut(AdminResponse) -> ControlFlow<()>,
) -> Result<AdminResponse, ContentError> {
    let last = match request {
        ContentRequest::List { pattern } => {
            let listing = Listing { selection: pattern.as_deref().map(selection).transpose()?, ..Listing::default() };
            let mut on_event = |event| match event {
                ListEvent::Waiting => send(AdminResponse::Progress { done: 0, of: None, bytes: 0 }),
                ListEvent::Repository(listed) => send(ContentResponse::Repository(listed).into()),
            };
            ContentResponse::Listed(volume.list(&listing, &|_| true, &mut on_event)?)
        }
        ContentRequest::Why { image } => ContentResponse::Why(Box::new(volume.why(&name(image)?)?.1)),
        ContentRequest::Purge { images, dry_run } => {
            let targets = images.iter().map(|text| PurgeTarget::parse(text).map_err(ContentError::Invalid));
            let targets = targets.collect::<Result<Vec<_>, _>>()?;
            let mut on_event = |purged| send(ContentResponse::Purged(purged).into());
            ContentResponse::PurgeEnd(volume.purge(&targets, Mode::new(*dry_run), &mut on_event)?)
        }
        ContentRequest::Refresh { .. } => {
            let message = "only a running server has upstreams to ask: start one with `entrepot serve`".to_owned();
            return Err(ContentError::Invalid(message));
        }
        ContentRequest::Pin { patterns: texts } => {
            volume.pin(&patterns(texts)?)?;
            pins(volume)
        }
        ContentRequest::Unpin { patterns: texts } => {
            volume.unpin(&patterns(texts)?)?;
            pins(volume)
        }
        ContentRequest::Pins => pins(volume),
        ContentRequest::Evict { to, dry_run } => ContentResponse::Evicted(volume.evict_to(*to, Mode::new(*dry_run))?),
    };
    Ok(last.into())
}

fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, ContentError> {
    let parse =
        |text: &String| text.parse().map_err(|error| ContentError::Invalid(format!("{text:?}: expected {error}")));
    texts.iter().map(parse).collect()
}

fn pins(volume: &Maintenance<'_>) -> ContentResponse {
    let (configured, added) = volume.pins();
    let written = |pins: Vec<NamePattern>| pins.iter().map(ToString::to_string).collect();
    ContentResponse::Pins { configured: written(configured), added: written(added) }
}

/// The reason that a request about content failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    /// A name or a pattern is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] Error),
}

fn selection(text: &str) -> Result<Selection, ContentError> {
    Selection::parse(text).map_err(|error| ContentError::Invalid(format!("{text:?}: expected {error}")))
}

fn name(text: &str) -> Result<ImageName, ContentError> {
    text.parse().map_err(|error| ContentError::Invalid(format!("{text:?}: {error}")))
}

impl From<ContentResponse> for AdminResponse {
    fn from(response: ContentResponse) -> Self {
        Self::Content(response)
    }
}
