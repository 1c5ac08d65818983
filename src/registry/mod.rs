//! The registry without HTTP: resolves the repository of a request, serves stored content, fetches the rest once, and
//! stores it.
//!
//! `store` has the stored content, `space` manages the disk space, `rebuild` makes the index anew, `fill` fetches from
//! upstreams. Built on them, `pull` reads, `push` writes, `retention` removes old tags, `gc` collects garbage, and
//! `maintenance` works on a whole volume. `state` has the state they share.

mod activity_recorder;
mod ask_error;
mod cache_status;
mod error;
mod eviction_rules;
mod fill;
mod gc;
mod last_client;
mod maintenance;
mod mode;
mod policy;
mod progress_callback;
mod pull;
mod push;
mod rebuild;
mod retention;
mod space;
mod state;
mod store;
mod timestamp;
mod unusable_answer;
mod usage_snapshots;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use activity_recorder::ActivityRecorder;
pub use cache_status::{CacheStatus, Pulled, Refused, StoreResult};
pub use error::Error;
pub use eviction_rules::EvictionRules;
use fill::fills::Fills;
use fill::list_cache::ListCache;
pub use fill::list_cache::ListKind;
use fill::prefetches::Prefetches;
use fill::presence::PresenceChecks;
pub use fill::pull_budget::GovernorSettings;
pub use fill::reader::{ReadSlice, Reader};
use fill::split::MAX_SPLITS;
use fill::upstream::Upstream;
pub use fill::upstream::UpstreamSettings;
use fill::upstreams::Upstreams;
pub use gc::sweep::{Collected, Collection, GcEvent};
pub use last_client::LastClient;
pub use maintenance::browse::{ImagePart, ImageParts};
pub use maintenance::content_class::ContentClass;
pub use maintenance::evict_to::EvictedTo;
pub use maintenance::image_report::{EvictionState, ImageReport, ImageState, MissingContent, TagFreshness};
pub use maintenance::inventory::{ListEvent, Listed, ListedRepository, ListedTag, Listing};
pub use maintenance::operations::Maintenance;
pub use maintenance::overview::{FillState, Overview};
pub use maintenance::purge::{Purged, PurgedRepository};
pub use maintenance::purge_plan::PurgeTarget;
pub use maintenance::remove::Removed;
pub use maintenance::selection::Selection;
pub use maintenance::verify::{Checked, VERIFY_SHARDS, Verification, Verified};
pub use maintenance::volume::Volume;
pub use maintenance::volume_kind::{VolumeKindError, decide};
pub use mode::Mode;
pub use policy::RegistryPolicy;
pub use progress_callback::ProgressCallback;
pub use pull::blob::Blob;
pub use pull::image_content::{ImageContent, ImageError};
pub use pull::listing::NamePage;
pub use pull::referrers::Referrers;
pub use pull::refresh::{RefreshResult, Refreshed};
pub use pull::warm::{OnWarmEvent, WarmEvent, WarmImage};
pub use push::import::{ImportWriter, ManifestImport};
pub use push::push_manifest::{ManifestPush, PushResult};
pub use push::upload_writer::UploadWriter;
use rebuild::rebuilds::Rebuilds;
pub use retention::run::{Expiry, Retained, RetentionEvent, RetentionRun};
pub use space::blob_usage::BlobUsage;
pub use space::disk_usage::{Counted, UsageCount, UsageEvent};
pub use space::reach::Completeness;
pub use state::Registry;
use store::blob_store::BlobStore;
pub use store::claims::ClaimPermission;
pub use store::damage::RepairResult;
use store::manifests::Manifests;
pub use store::manifests::StoredManifest;
pub use store::recent_events::{SpaceEvent, SpaceEventKind};
use store::single_flight::SingleFlight;
pub use store::tag_cache::Head;
use store::upload_sessions::Sessions;
pub use timestamp::Timestamp;
use tokio::{runtime::Handle, sync::Semaphore};
pub use unusable_answer::UnusableAnswer;
pub use usage_snapshots::UsageSnapshot;
use usage_snapshots::UsageSnapshots;

use crate::{
    index::{Closing, Index},
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    oci::Domain,
    storage::Storage,
    upstream::ClientThreads,
};

/// The parts and settings that a registry is built from.
pub struct RegistryConfig {
    /// The data directory.
    pub storage: Storage,
    /// The index of the data directory.
    pub index: Index,
    /// The configured upstreams.
    pub upstreams: Vec<UpstreamSettings>,
    /// The threads for requests to upstreams.
    pub threads: ClientThreads,
    /// The permissions set by the operator.
    pub rules: RegistryPolicy,
    /// The rules of eviction.
    pub eviction_rules: EvictionRules,
    /// Enables prefetching.
    pub prefetch: bool,
    /// The longest grace period of garbage collection after a push.
    pub grace: Duration,
    /// The bytes of memory for manifests that were served.
    pub memory: u64,
    /// The runtime for tasks that outlive a request.
    pub tasks: Handle,
    /// The metrics to count in.
    pub metrics: Arc<Metrics>,
    /// The threads for blocking work.
    pub lanes: Lanes,
}

impl Registry {
    /// Creates a registry without starting any task. Migrates the volume of a `registry:2` that was a cache.
    ///
    /// # Errors
    /// [`Error::Storage`] if that volume, or the file of pins, cannot be read.
    pub fn new(io: &Blocking, config: RegistryConfig) -> Result<Self, Error> {
        let RegistryConfig {
            storage,
            index,
            upstreams,
            threads,
            rules,
            eviction_rules,
            prefetch,
            grace,
            memory,
            tasks,
            metrics,
            lanes,
        } = config;
        let store = BlobStore::new(storage, index, eviction_rules, grace, Arc::clone(&metrics), lanes);
        store.with(io).load_pins()?;
        if rules.mirror {
            maintenance::migrate_cache_volume::proxy_volume(store.with(io).disk)?;
        }
        let splits = Arc::new(Semaphore::new(MAX_SPLITS));
        let upstream = |settings| Upstream::new(settings, threads.clone(), Arc::clone(&metrics), Arc::clone(&splits));
        let mirrored = Upstreams::default();
        mirrored.replace(upstreams.into_iter().map(upstream));
        Ok(Self {
            upstreams: mirrored,
            splits,
            threads,
            manifests: Manifests::new(store.clone(), memory),
            fills: Fills::new(store.clone()),
            store,
            rebuilds: Rebuilds::default(),
            heads: SingleFlight::new(tasks.clone()),
            fetches: SingleFlight::new(tasks.clone()),
            pages: ListCache::new(tasks.clone()),
            prefetches: Prefetches::new(prefetch),
            presence_checks: PresenceChecks::new(tasks.clone()),
            rules,
            sessions: Sessions::default(),
            metrics,
            activity: ActivityRecorder::default(),
            usage_snapshots: UsageSnapshots::default(),
            tasks,
        })
    }

    /// Replaces the upstreams: those named in `kept` stay as they are, with all that is known of them, and `new` ones
    /// are added or take the place of one with the same name. Requests under way go on with the upstream that they
    /// began with.
    pub fn replace_upstreams(&self, kept: &[Domain], new: Vec<UpstreamSettings>) {
        let build = |settings| {
            let (threads, splits) = (self.threads.clone(), Arc::clone(&self.splits));
            Upstream::new(settings, threads, Arc::clone(&self.metrics), splits)
        };
        let new = new.into_iter().map(build);
        let kept = kept.iter().filter_map(|domain| self.upstreams.get(domain));
        self.upstreams.replace(kept.chain(new).collect::<Vec<_>>());
    }

    /// Returns the threads for blocking work.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        self.store.execution.lanes()
    }

    /// Returns the metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Flushes the index at a clean shutdown. From here on nothing is stored or evicted, even if fills are under way.
    pub fn close(&self, io: &Blocking) {
        self.store.protection.gc_guard.close();
        self.store.with(io).flush_accesses();
        let quiet = self.store.execution.close();
        self.record_activity(io);
        self.rebuilds.saved_uses.save(&self.store.with(io));
        if !quiet || self.store.pull_notes.has_waiting() {
            self.store.pull_notes.lost(SystemTime::now());
        }
        self.store.with(io).save_pull_record(SystemTime::now());
        let closing = if quiet { Closing::Quiet(self.store.volume.ledger_totals()) } else { Closing::Busy };
        self.store.volume.index.close(closing);
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod reserve_tests;
#[cfg(test)]
mod unindexed_tests;
#[cfg(test)]
mod uses_tests;
