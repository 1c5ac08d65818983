//! Executes requests about content by the registry's maintenance functions.

use std::ops::ControlFlow;

use super::{AdminResponse, ContentRequest, ContentResponse};
use crate::{
    oci::ImageName,
    registry::{Error, ListEvent, Listing, Maintenance, Selection},
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
    };
    Ok(last.into())
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
