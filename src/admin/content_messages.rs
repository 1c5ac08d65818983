//! The part of the protocol about content: what is here, why, and for how long. The responses carry the registry's own
//! reports, which the HTTP API returns, too.

use serde::{Deserialize, Serialize};

use crate::registry::{ImageReport, Listed, ListedRepository};

/// A request about content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum ContentRequest {
    /// Lists repositories and tags.
    List {
        /// A pattern of images; `None` for all.
        pattern: Option<String>,
    },
    /// Explains the state of an image.
    Why {
        /// Its name, as docker takes it.
        image: String,
    },
}

/// A response to a request about content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum ContentResponse {
    /// Part of a list: a repository with its tags.
    Repository(ListedRepository),
    /// The end of a list.
    Listed(Listed),
    /// The state of an image.
    Why(Box<ImageReport>),
}

impl ContentResponse {
    /// Returns true if this is the last response.
    #[must_use]
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Self::Repository(_))
    }
}
