//! The two kinds of repositories, as reports name them.

use serde::{Deserialize, Serialize};

use crate::oci::Repository;

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentClass {
    /// Pushed to this registry.
    Hosted,
    /// Cached from an upstream.
    Mirrored,
}

impl ContentClass {
    /// Returns the kind of a repository.
    #[must_use]
    pub fn of(repository: &Repository) -> Self {
        if repository.domain.is_some() { Self::Mirrored } else { Self::Hosted }
    }
}
