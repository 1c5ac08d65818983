//! The rules, without HTTP: which registry is meant, what is answered from the cache, what is fetched, once, and kept.
//!
//! To read, `pull` (manifests, with `tags`) and `blobs` are the way in; `rules` says which registry is meant and `ownership`
//! whose a name is, `hosted` and `listing` answer for this one. To write: `uploads`, `promote`, `put`, `delete` and `remove`,
//! each under its `claims`. `adopt` and
//! `collect` (what `reach` plans and `gc_guard` allows) work on a whole volume, and so do `verify` (with `health` and `damage`) and
//! `census` (with `tagged`), which counts; `volume` has it where no server has.
//!
//! Below them: `manifests` and `store` (what is here), `fills` and `fill` (`fill_job`, `fill_untold`) with `origin`, `fetch`, `hashing_file`, `parked`, `progress`,
//! `range_fetch`, `reader` and `through` (a blob on its way), `mirror` (an upstream's health), `heard` (what upstreams said) with
//! `tag_links`, `flight` (once for everyone), `pages` (lists that pass through), `rebuild` (an index from the disk) with `reconcile` (one
//! link from there). Around them,
//! the disk: `space` reserves, `evict` makes room by `uses`, `books` keeps index and ledger together, `tend` is what has to be
//! done now and then, `figures` what a scrape is told.

mod access_tracker;
mod accounting;
mod blob_store;
mod blobs;
mod cache_status;
mod damage;
mod delete;
mod disk_usage;
mod error;
mod evict;
mod evict_unindexed;
mod fetch;
mod fill;
mod fill_job;
mod fill_untold;
mod fills;
mod gauges;
mod gc;
mod gc_guard;
mod hashing_writer;
mod hosted;
mod list_cache;
mod listing;
mod locks;
mod maintenance;
mod manifests;
mod mark;
mod migrate_cache_volume;
mod origin;
mod ownership;
mod partial;
mod passthrough;
mod progress;
mod promote;
mod pull;
mod push_manifest;
mod range_fetch;
mod reader;
mod readiness;
mod rebuild;
mod reconcile;
mod referrer_descriptor;
mod referrers;
mod remove;
mod repair;
mod reserve;
mod resolve;
mod single_flight;
mod tag_cache;
mod tag_links;
mod tag_usage;
mod tags;
mod uncached;
mod uploads;
mod upstream_health;
mod verify;
mod volume;
mod volume_kind;

use std::{collections::HashMap, sync::Arc, time::Duration};

use blob_store::BlobStore;
pub use blobs::Blob;
pub use cache_status::{CacheStatus, Kept, Refused};
pub use disk_usage::{BlobUsage, Census, Counted, UsageEvent};
pub use error::Error;
pub use evict::Retention;
use fills::Fills;
pub use gc::{Collected, Collection, GcEvent, ProgressCallback};
pub use list_cache::List;
use list_cache::ListCache;
pub use listing::NamePage;
use manifests::Manifests;
pub use manifests::StoredManifest;
pub use ownership::ClaimRight;
use ownership::Questions;
pub use pull::Pulled;
pub use push_manifest::{Accepted, Pushed};
pub use reader::{ReadSlice, Reader};
pub use referrers::Referrers;
pub use remove::Removed;
pub use repair::RepairResult;
pub use resolve::RegistryPolicy;
use single_flight::SingleFlight;
pub use tag_cache::Head;
use tokio::runtime::Handle;
use uploads::Sessions;
pub use uploads::UploadWriter;
use upstream_health::UpstreamHealth;
pub use verify::{Checked, VERIFY_SHARDS, Verification, Verified};
pub use volume::Volume;
pub use volume_kind::{VolumeKindError, decide};

use crate::{
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    oci::{Domain, Reference, Repository},
    storage::Storage,
    upstream::{Pool, Remote},
};

type Shared<T> = Result<T, Arc<crate::upstream::Error>>;
/// A manifest that came from an upstream.
type Fetched = (Arc<StoredManifest>, Kept);

/// One registry over one data directory.
#[derive(Debug)]
pub struct Registry {
    mirrors: HashMap<Domain, UpstreamHealth>,
    freshness: Duration,
    tasks: Handle,
    store: BlobStore,
    manifests: Manifests,
    fills: Arc<Fills>,
    heads: SingleFlight<(Repository, Reference), Shared<Option<Head>>>,
    fetches: SingleFlight<(Repository, Reference), Shared<Fetched>>,
    pages: ListCache,
    questions: Questions,
    rules: RegistryPolicy,
    sessions: Sessions,
    metrics: Arc<Metrics>,
}

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
            migrate_cache_volume::proxy_volume(&store)?;
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

    /// Brings the index to disk, at a clean stop. From here on nothing is stored and nothing evicted: fills may be under way.
    pub fn close(&self) {
        self.store.gc_guard.close();
        self.store.tell_uses();
        let quiet = self.store.close();
        self.store.index.close(self.store.storage.ledger().totals(), quiet);
    }

    fn mirror(&self, repository: &Repository) -> Result<&UpstreamHealth, Error> {
        let mirror = repository.domain.as_ref().and_then(|domain| self.mirrors.get(domain));
        mirror.ok_or(Error::NameUnknown)
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod unindexed_tests;
