//! The rules of eviction: pins, the lease and the time to live.

use std::time::Duration;

use crate::oci::{NamePattern, Repository};

/// The limits of eviction.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Names of mirrored repositories whose content is never evicted.
    pub pinned: Vec<NamePattern>,
    /// The time after a request in which content is not evicted, since a client that got a manifest requests its blobs.
    pub lease: Duration,
    /// The time without a request after which mirrored content is removed; zero disables this.
    pub ttl: Duration,
}

impl Retention {
    /// Returns whether the content of a repository is never evicted.
    pub(super) fn is_pinned(&self, repository: &Repository) -> bool {
        self.pinned.iter().any(|pattern| pattern.matches(&repository.name))
    }

    /// Returns the end of the lease after a use, in seconds since the epoch.
    pub(super) fn leased_until(&self, used: u64) -> u64 {
        used + self.lease.as_secs()
    }
}
