//! The state of a registry that its parts share. Its operations are in the other folders.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Semaphore};

use super::{
    Error, StoreResult,
    activity_recorder::ActivityRecorder,
    ask_error::AskError,
    fill::{
        fills::Fills, list_cache::ListCache, prefetches::Prefetches, presence::PresenceChecks, upstream::Upstream,
        upstreams::Upstreams,
    },
    policy::RegistryPolicy,
    rebuild::rebuilds::Rebuilds,
    store::{
        blob_store::BlobStore,
        manifests::{Manifests, StoredManifest},
        single_flight::SingleFlight,
        tag_cache::Head,
        upload_sessions::Sessions,
    },
    usage_snapshots::UsageSnapshots,
};
use crate::{
    metrics::Metrics,
    oci::{Digest, Reference, Repository},
    upstream::ClientThreads,
};

pub(super) type Shared<T> = Result<T, AskError>;

/// A manifest fetched from an upstream.
pub(super) type Fetched = (Arc<StoredManifest>, StoreResult);

/// A registry over one data directory.
#[derive(Debug)]
pub struct Registry {
    pub(super) upstreams: Upstreams,
    pub(super) threads: ClientThreads,
    /// Permits to split fetches.
    pub(super) splits: Arc<Semaphore>,
    pub(super) tasks: Handle,
    pub(super) store: BlobStore,
    pub(super) rebuilds: Rebuilds,
    pub(super) manifests: Manifests,
    pub(super) fills: Arc<Fills>,
    pub(super) heads: SingleFlight<(Repository, Reference), Shared<Option<Head>>>,
    pub(super) fetches: SingleFlight<(Repository, Reference), Shared<Fetched>>,
    pub(super) pages: ListCache,
    pub(super) presence_checks: PresenceChecks,
    pub(super) prefetches: Prefetches,
    pub(super) rules: RegistryPolicy,
    pub(super) sessions: Sessions,
    pub(super) metrics: Arc<Metrics>,
    pub(super) activity: ActivityRecorder,
    pub(super) usage_snapshots: UsageSnapshots,
}

impl Registry {
    /// Returns the upstream of a mirrored repository.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] if it is not configured.
    pub(super) fn upstream(&self, repository: &Repository) -> Result<Upstream, Error> {
        let upstream = repository.domain.as_ref().and_then(|domain| self.upstreams.get(domain));
        upstream.ok_or(Error::NameUnknown)
    }

    /// Records that a client was sent a manifest, or its headers.
    pub fn note_client(&self, repository: &Repository, digest: &Digest, user: &str, address: &str) {
        self.store.last_clients.note(repository, digest, user, address);
    }

    /// Returns whether the upstream is being asked about a manifest.
    pub(super) fn is_asking(&self, repository: &Repository, reference: &Reference) -> bool {
        let key = (repository.clone(), reference.clone());
        self.heads.is_under_way(&key) || self.fetches.is_under_way(&key)
    }

    /// Lets the next request about a manifest ask the upstream, instead of joining one that is under way.
    pub(super) fn forget_requests(&self, repository: &Repository, reference: &Reference) {
        let key = (repository.clone(), reference.clone());
        self.heads.detach(&key);
        self.fetches.detach(&key);
    }

    /// Returns the time for which a tag of a repository is served without asking its upstream.
    pub(super) fn freshness(&self, repository: &Repository) -> Duration {
        self.upstream(repository).map_or(Duration::ZERO, |upstream| upstream.freshness())
    }
}
