//! The part of the protocol about content: what is here, why, and for how long. The responses carry the registry's own
//! reports, which the HTTP API returns, too.

use serde::{Deserialize, Serialize};

use crate::registry::{EvictedTo, ImageReport, Listed, ListedRepository, Purged, PurgedRepository, Refreshed};

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
    /// Purges mirrored images.
    Purge {
        /// Their names, or patterns, which have a `*`.
        images: Vec<String>,
        /// Only says what would go.
        dry_run: bool,
    },
    /// Asks upstreams about tags now.
    Refresh {
        /// The names of images.
        images: Vec<String>,
    },
    /// Pins repositories.
    Pin {
        /// Patterns of their names.
        patterns: Vec<String>,
    },
    /// Removes pins.
    Unpin {
        /// The patterns as they were pinned.
        patterns: Vec<String>,
    },
    /// Lists the pins.
    Pins,
    /// Evicts mirrored content until all that is stored is small enough.
    Evict {
        /// The bytes that may stay.
        to: u64,
        /// Only says what would go.
        dry_run: bool,
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
    /// A repository was purged, or would be.
    Purged(PurgedRepository),
    /// The end of a purge.
    PurgeEnd(Purged),
    /// The upstream was asked about a tag.
    Refreshed(Refreshed),
    /// The upstream could not be asked about a tag, or the image is invalid.
    NotRefreshed {
        /// The image.
        image: String,
        /// The reason, in one line.
        error: String,
    },
    /// The end of asking upstreams.
    RefreshEnd {
        /// The images.
        images: u64,
        /// Those that failed.
        failed: u64,
    },
    /// The pins, after a change or as they are.
    Pins {
        /// Those of the configuration.
        configured: Vec<String>,
        /// Those that commands made.
        added: Vec<String>,
    },
    /// The end of an eviction.
    Evicted(EvictedTo),
}

impl ContentResponse {
    /// Returns true if this is the last response.
    #[must_use]
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Self::Repository(_) | Self::Purged(_) | Self::Refreshed(_) | Self::NotRefreshed { .. })
    }
}
