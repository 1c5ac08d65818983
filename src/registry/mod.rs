//! The rules of the registry, without HTTP: which registry is meant, what is answered from here, what is fetched, once,
//! and kept.
//!
//! `store` is what lies here, `space` its room on the disk, `fill` what comes from an upstream. Over them: `pull`
//! reads, `push` writes, `gc` collects, `maintenance` looks after a whole volume. `state` has what they share, and this
//! file puts it together.

mod cache_status;
mod error;
mod fill;
mod gc;
mod maintenance;
mod policy;
mod progress_callback;
mod pull;
mod push;
mod retention;
mod space;
mod state;
mod store;

use std::{sync::Arc, time::Duration};

pub use cache_status::{CacheStatus, Kept, Pulled, Refused};
pub use error::Error;
use fill::fills::Fills;
pub use fill::list_cache::List;
use fill::list_cache::ListCache;
use fill::presence::Questions;
pub use fill::reader::{ReadSlice, Reader};
use fill::upstream_health::UpstreamHealth;
pub use gc::sweep::{Collected, Collection, GcEvent};
pub use maintenance::remove::Removed;
pub use maintenance::verify::{Checked, VERIFY_SHARDS, Verification, Verified};
pub use maintenance::volume::Volume;
pub use maintenance::volume_kind::{VolumeKindError, decide};
pub use policy::RegistryPolicy;
pub use progress_callback::ProgressCallback;
pub use pull::blobs::Blob;
pub use pull::listing::NamePage;
pub use pull::referrers::Referrers;
pub use push::ownership::ClaimRight;
pub use push::push_manifest::{Accepted, Pushed};
pub use push::uploads::UploadWriter;
pub use retention::Retention;
pub use space::blob_usage::BlobUsage;
pub use space::disk_usage::{Census, Counted, UsageEvent};
pub use state::Registry;
use store::blob_store::BlobStore;
pub use store::damage::RepairResult;
use store::manifests::Manifests;
pub use store::manifests::StoredManifest;
use store::single_flight::SingleFlight;
pub use store::tag_cache::Head;
use store::upload_sessions::Sessions;
use tokio::runtime::Handle;

use crate::{
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    storage::Storage,
    upstream::{Pool, Remote},
};

/// What a registry stands on.
pub struct RegistryConfig {
    /// The data directory.
    pub storage: Storage,
    /// Its index.
    pub index: Index,
    /// Who may be asked for what is not here.
    pub upstreams: Vec<Remote>,
    /// The threads that ask them.
    pub pool: Pool,
    /// What the operator allows.
    pub rules: RegistryPolicy,
    /// What stays though there is no room.
    pub retention: Retention,
    /// How long a tag is believed to stand still.
    pub freshness: Duration,
    /// How long what nothing names yet is left alone after the last push to its repository, at most.
    pub grace: Duration,
    /// Where work runs that no single request owns.
    pub tasks: Handle,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// The threads that work which blocks runs on.
    pub lanes: Lanes,
}

impl Registry {
    /// Puts the house together. Starts nothing, but adopts the volume of a `registry:2` that was a cache.
    ///
    /// # Errors
    /// [`Error::Storage`], when it cannot be known what is on that volume.
    pub fn new(foundation: RegistryConfig) -> Result<Self, Error> {
        let RegistryConfig {
            storage,
            index,
            upstreams,
            pool,
            rules,
            retention,
            freshness,
            grace,
            tasks,
            metrics,
            lanes,
        } = foundation;
        let store = BlobStore::new(storage, index, retention, grace, Arc::clone(&metrics), lanes);
        if rules.mirror {
            maintenance::migrate_cache_volume::proxy_volume(&store)?;
        }
        upstreams.iter().for_each(|remote| metrics.know(remote.domain()));
        let mirror =
            |remote: Remote| (remote.domain().clone(), UpstreamHealth::new(remote, pool.clone(), Arc::clone(&metrics)));
        Ok(Self {
            mirrors: upstreams.into_iter().map(mirror).collect(),
            freshness,
            manifests: Manifests::new(store.clone()),
            fills: Fills::new(store.clone()),
            store,
            heads: SingleFlight::new(tasks.clone()),
            fetches: SingleFlight::new(tasks.clone()),
            pages: ListCache::new(tasks.clone()),
            questions: Questions::new(tasks.clone()),
            rules,
            sessions: Sessions::default(),
            metrics,
            tasks,
        })
    }

    /// Removes what nothing reaches, while everything else goes on. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::UnderWay`]; [`Error::Abandoned`] when `tell` wants no more; or as the disk fails.
    pub fn collect(&self, collection: Collection, tell: ProgressCallback<'_, GcEvent>) -> Result<Collected, Error> {
        collection.run(&self.store, tell)
    }

    /// Counts what fills the disk, and for whom, while everything else goes on. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::NoIndex`]; [`Error::Abandoned`] when `tell` wants no more.
    pub fn count(&self, census: &Census, tell: ProgressCallback<'_, UsageEvent>) -> Result<Counted, Error> {
        census.run(&self.store, tell)
    }

    /// The threads that work which blocks runs on.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.store.lanes
    }

    /// Where it is counted what happens here.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Brings the index to disk, at a clean stop. From here on nothing is stored and nothing evicted: fills may be
    /// under way.
    pub fn close(&self) {
        self.store.gc_guard.close();
        self.store.tell_uses();
        let quiet = self.store.close();
        self.store.index.close(self.store.storage.ledger().totals(), quiet);
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod unindexed_tests;
