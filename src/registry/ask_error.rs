//! The failure of a request to an upstream whose answer several requests share.

use std::sync::Arc;

use super::{Error, error::Resource};
use crate::upstream;

/// The reason that there is no answer. Each request that shares it converts it for what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The upstream failed, or refused.
    #[error(transparent)]
    Upstream(#[from] Arc<upstream::Error>),
    /// The answer cannot be used, or the work failed here.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl AskError {
    /// Returns whether the upstream said that it does not have the resource.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Upstream(error) if matches!(**error, upstream::Error::NotFound))
    }

    /// Converts it for a resource that is not cached.
    pub(super) fn of(self, resource: Resource) -> Error {
        match self {
            Self::Upstream(error) => resource.failed(&error),
            Self::Registry(error) => error,
        }
    }
}
