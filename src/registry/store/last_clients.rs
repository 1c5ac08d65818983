//! The client that asked last for a manifest in a repository. It is kept in memory only, for the manifests that were
//! asked for last.

use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{
    oci::{Digest, Repository},
    registry::{LastClient, Timestamp},
};

/// The number of manifests whose last client is known.
const MAX_ENTRIES: u64 = 10_000;

/// The last clients.
#[derive(Debug)]
pub(in crate::registry) struct LastClients(Cache<(Repository, Digest), LastClient>);

impl LastClients {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_ENTRIES).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Records that a client was sent a manifest, or its headers.
    pub(in crate::registry) fn note(&self, repository: &Repository, digest: &Digest, user: &str, address: &str) {
        let at = Timestamp(super::access_tracker::now());
        let client = LastClient { user: user.to_owned(), address: address.to_owned(), at };
        self.0.insert((repository.clone(), *digest), client);
    }

    /// Returns the last client that asked for a manifest; `None` if nobody did since the start, or too many others were
    /// asked for since.
    pub(in crate::registry) fn get(&self, repository: &Repository, digest: &Digest) -> Option<LastClient> {
        self.0.get(&(repository.clone(), *digest))
    }
}
