//! Blobs as the registry sees them: the bytes on disk together with their entries in the index.
//!
//! All blocking work of the registry runs on one of the lanes held here, and gets a [`BlockingStore`]. What reads or
//! changes the disk is a method of that type, or takes it, so that async code cannot call it.

use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    access_tracker::{self, AccessTracker},
    gc_guard::GcGuard,
    hashing::{Hashed, Promotion, hash_lane, stamp},
    locks::Locks,
    maintenance_state::Shortage,
    name_claims::NameClaims,
    partial::PartialBlobs,
    single_flight::BlockingSingleFlight,
    tag_cache::TagCache,
    uncached::Uncached,
};
use crate::{
    index::{Arrival, BlobKind, Class, Index, Link},
    lanes::{Blocking, Lane, Lanes},
    metrics::Metrics,
    oci::{Digest, Repository},
    registry::{Error, Retention},
    storage::{self, Disk, Durability, Published, Purpose, Staged, Storage, Stored},
};

/// The largest blob that is ever read into memory; no accepted or fetched manifest is larger.
pub(in crate::registry) const SMALL: u64 = 32 << 20;
/// The time that work under way gets to end at shutdown.
const CLOSING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(in crate::registry) struct BlobStore {
    pub(in crate::registry) storage: Arc<Storage>,
    pub(in crate::registry) index: Arc<Index>,
    pub(in crate::registry) locks: Arc<Locks>,
    pub(in crate::registry) gc_guard: Arc<GcGuard>,
    pub(in crate::registry) access_tracker: Arc<AccessTracker>,
    pub(in crate::registry) retention: Arc<Retention>,
    pub(in crate::registry) partial_blobs: Arc<PartialBlobs>,
    /// Answers of upstreams about tags.
    pub(in crate::registry) tag_cache: Arc<TagCache>,
    pub(in crate::registry) name_claims: Arc<NameClaims>,
    /// Held while space is freed; the value is the last shortage that eviction could not resolve.
    pub(in crate::registry) evicting: Arc<AsyncMutex<Option<Shortage>>>,
    pub(in crate::registry) metrics: Arc<Metrics>,
    pub(in crate::registry) lanes: Lanes,
    pub(in crate::registry) uncached: Arc<Uncached>,
    /// Single flight of hashing blobs whose bytes are in doubt.
    rechecks: Arc<BlockingSingleFlight<Digest, Result<Hashed, Error>>>,
    /// Single flight of dropping damaged blobs.
    pub(in crate::registry) drops: Arc<BlockingSingleFlight<Digest, Result<(), Error>>>,
    /// Single flight of promoting mirrored blobs to hosted ones.
    pub(in crate::registry) promotions: Arc<BlockingSingleFlight<Digest, Result<Promotion, Error>>>,
    /// Set once the store is closed. Fills, pushes and evictions hold it for reading, so that none of them runs on
    /// after that.
    pub(in crate::registry) closed: Arc<RwLock<bool>>,
}

impl BlobStore {
    /// Creates the store of one volume. `memory` is the time for which the garbage collection guard remembers a push.
    pub(in crate::registry) fn new(
        storage: Storage,
        index: Index,
        retention: Retention,
        memory: Duration,
        metrics: Arc<Metrics>,
        lanes: Lanes,
    ) -> Self {
        index.set_pins(retention.pinned.clone());
        let store = Self {
            storage: Arc::new(storage),
            index: Arc::new(index),
            locks: Arc::new(Locks::new()),
            gc_guard: Arc::new(GcGuard::new(memory)),
            access_tracker: Arc::new(AccessTracker::new()),
            retention: Arc::new(retention),
            partial_blobs: Arc::default(),
            tag_cache: Arc::new(TagCache::new()),
            name_claims: Arc::default(),
            evicting: Arc::default(),
            metrics,
            rechecks: BlockingSingleFlight::new(lanes.clone()).into(),
            drops: BlockingSingleFlight::new(lanes.clone()).into(),
            promotions: BlockingSingleFlight::new(lanes.clone()).into(),
            lanes,
            uncached: Arc::default(),
            closed: Arc::default(),
        };
        store.keep_accounts();
        store
    }

    /// Returns a published blob whose file is the one that was last verified; `None` when there is none, or when its
    /// bytes must be hashed first.
    pub(in crate::registry) async fn known(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let Some(expected) = self.index.stamp(&digest) else { return Ok(None) };
        let stored = self.blocking(Lane::Look, move |store| store.disk.blob_for_client(&digest)).await?;
        Ok(stored?.filter(|stored| stamp(&stored.stamp) == expected))
    }

    /// Returns whether a blob has bytes on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn has(&self, digest: Digest) -> Result<bool, Error> {
        Ok(self.blocking(Lane::Look, move |store| store.disk.has_blob(&digest)).await??)
    }

    /// Returns a published blob, after hashing its bytes if they are in doubt. All concurrent callers share one
    /// hashing. Wrong bytes are removed.
    ///
    /// # Errors
    /// [`Error::Storage`] if the bytes cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn recheck(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let look = move |store: &BlockingStore<'_>| store.disk.blob_for_client(&digest);
        let Some(stored) = self.blocking(Lane::Look, look).await?? else { return Ok(None) };
        if self.index.stamp(&digest) == Some(stamp(&stored.stamp)) {
            return Ok(Some(stored));
        }
        let (lane, store) = (hash_lane(stored.stamp.size), self.clone());
        let work = move |io: &Blocking| match store.changing() {
            Some(_open) => store.with(io).recheck_now(&digest),
            None => Err(Error::ShuttingDown),
        };
        self.or_drop(digest, self.rechecks.join(digest, lane, work).await.ok_or(Error::Panicked)??).await
    }

    /// Records in the index that a file's bytes are verified.
    pub(in crate::registry) fn settle(&self, digest: &Digest, stored: &Stored) {
        self.index.verified(digest, stamp(&stored.stamp));
    }

    /// Makes a blob evictable that no hosted repository links any more and a mirrored one does. The caller holds the
    /// digest's lock.
    pub(in crate::registry) fn demote_to_mirrored(&self, digest: &Digest) {
        self.index.demoted(digest);
    }

    /// Returns all bytes of a small blob, verified against its digest; `None` for a larger one, since a client may
    /// request a layer's digest as a manifest.
    ///
    /// # Errors
    /// [`Error::Storage`] if the bytes cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn read(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let look = move |store: &BlockingStore<'_>| store.disk.blob(&digest);
        if self.blocking(Lane::Look, look).await??.is_none_or(|stored| stored.stamp.size > SMALL) {
            return Ok(None);
        }
        let Some(stored) = self.recheck(digest).await? else { return Ok(None) };
        let read = move |store: &BlockingStore<'_>| {
            let bytes = store.disk.bytes(&digest, &stored)?;
            Ok(digest.matches(&bytes).then(|| bytes.into()))
        };
        self.blocking(Lane::Read, read).await?
    }

    /// Publishes a small blob from memory.
    pub(in crate::registry) async fn write(
        &self,
        digest: Digest,
        bytes: Bytes,
        durability: Durability,
    ) -> Result<(), Error> {
        let purpose = if durability == Durability::Synced { Purpose::Hosted } else { Purpose::Mirrored };
        let staged = self.stage(&digest, purpose, bytes.len() as u64).await?;
        let staged = self
            .blocking(Lane::Write, move |store| staged.writer().write_at(store.disk.io(), &bytes, 0).map(|()| staged))
            .await??;
        self.publish(staged, digest, durability, BlobKind::Manifest).await
    }

    /// Creates an empty staged file for a blob, with space reserved for `size` bytes.
    pub(in crate::registry) async fn stage(
        &self,
        digest: &Digest,
        purpose: Purpose,
        size: u64,
    ) -> Result<Staged, Error> {
        let reservation = self.reserve_object(purpose, size).await?;
        let digest = *digest;
        Ok(self.blocking(Lane::Write, move |store| store.disk.stage(&digest, reservation, size)).await??)
    }

    /// Publishes a staged file that was found to hash to `digest`. Waits for the digest's
    /// lock, because another task may be moving damaged bytes of the blob into quarantine.
    pub(in crate::registry) async fn publish(
        &self,
        staged: Staged,
        digest: Digest,
        durability: Durability,
        kind: BlobKind,
    ) -> Result<(), Error> {
        let guard = self.gc_guard.guard_blob(&digest).await;
        let lock = self.locks.wait_for_digest(&digest).await;
        let publish = move |store: &BlockingStore<'_>| {
            let (_guard, _lock) = (guard, lock);
            store.publish_now(staged, &digest, durability, kind)
        };
        let lane = if durability == Durability::Synced { Lane::Sync } else { Lane::Write };
        self.blocking(lane, publish).await?
    }

    /// Records a file that has just been published and verified. The caller drops its reservation afterwards.
    pub(in crate::registry) fn record_published(&self, digest: &Digest, stored: &Stored, class: Class, kind: BlobKind) {
        let (stamp, now) = (stamp(&stored.stamp), access_tracker::now());
        self.index.published(digest, &Arrival { stamp, allocated: stored.allocated, class, kind, now });
    }

    /// Links a blob into a repository that is authorized for it. A failed link only costs another request to the
    /// upstream later.
    pub(in crate::registry) async fn link_layer(&self, repository: &Repository, digest: Digest) {
        let repository = repository.clone();
        let guard = self.gc_guard.guard_blob(&digest).await;
        let lock = self.locks.wait_for_digest(&digest).await;
        let link = move |store: &BlockingStore<'_>| {
            let (_guard, _lock) = (guard, lock);
            let linked = store.disk.has_blob(&digest).and_then(|here| {
                if here {
                    store.disk.links(&repository).add_layer(&digest, Durability::Unsynced)?;
                }
                Ok(here)
            });
            match linked {
                Ok(false) => {}
                Err(error) => tracing::warn!("{digest} is not linked in {repository}: {error}"),
                Ok(true) => {
                    store.index.add_repository(&repository);
                    store.index.linked(&repository, &digest, Link { layer: true, ..Link::default() });
                }
            }
        };
        let _ = self.blocking(Lane::Write, link).await;
    }

    /// Returns whether the index can be trusted for a repository. Only this process writes mirrored repositories.
    pub(in crate::registry) fn trusts_index(&self, repository: &Repository) -> bool {
        repository.domain.is_some() || self.index.is_complete()
    }

    /// Returns the store for code that may block.
    pub(in crate::registry) fn with<'a>(&'a self, io: &'a Blocking) -> BlockingStore<'a> {
        BlockingStore { store: self, disk: self.storage.disk(io) }
    }

    /// Runs blocking work on the given lane.
    pub(in crate::registry) async fn blocking<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&BlockingStore<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let work = move |io: &Blocking| {
            let _open = store.changing()?;
            Some(work(&store.with(io)))
        };
        self.lanes.run(lane, work).await.map_err(|_| Error::Panicked)?.ok_or(Error::ShuttingDown)
    }

    /// Returns the guard to hold while something is stored or evicted; `None` once the store is closed.
    pub(in crate::registry) fn changing(&self) -> Option<RwLockReadGuard<'_, bool>> {
        // Recursive, because nested work may hold it already.
        Some(self.closed.read_recursive()).filter(|closed| !**closed)
    }

    /// Closes the store. Returns `false` if work under way does not end in time.
    pub(in crate::registry) fn close(&self) -> bool {
        self.closed.try_write_for(CLOSING).map(|mut closed| *closed = true).is_some()
    }
}

/// The store on a thread that may block. It has all of [`BlobStore`] and the disk.
#[derive(Debug)]
pub(in crate::registry) struct BlockingStore<'a> {
    store: &'a BlobStore,
    pub(in crate::registry) disk: Disk<'a>,
}

impl Deref for BlockingStore<'_> {
    type Target = BlobStore;

    fn deref(&self) -> &BlobStore {
        self.store
    }
}

impl BlockingStore<'_> {
    /// Publishes a staged file, unless another was published first. The caller holds the digest's lock.
    fn publish_now(
        &self,
        staged: Staged,
        digest: &Digest,
        durability: Durability,
        kind: BlobKind,
    ) -> Result<(), Error> {
        let mirrored = durability == Durability::Unsynced;
        // These bytes replace damaged ones of a pushed blob and must be as durable. Until they are, no client may rely
        // on them.
        let hosted = !mirrored || self.disk.is_quarantined(digest)?;
        let Published::New { stored, reservation } = self.disk.publish(staged, digest, durability)? else {
            return Ok(());
        };
        if hosted
            && mirrored
            && let Err(error) = self.disk.make_durable(digest)
        {
            // No link names it yet, and the quarantined bytes stay.
            self.disk.remove_blob(digest)?;
            return Err(error.into());
        }
        self.record_published(digest, &stored, Class { mirrored, hosted }, kind);
        drop(reservation);
        Ok(self.disk.release(digest)?)
    }

    /// Returns whether a published blob is the file that was last verified.
    pub(in crate::registry) fn is_unchanged(&self, digest: &Digest) -> Result<bool, Error> {
        let Some(stored) = self.disk.blob(digest)? else { return Ok(false) };
        Ok(self.index.stamp(digest) == Some(stamp(&stored.stamp)))
    }

    /// Removes the bytes of a blob that no repository links. The caller holds the digest's lock.
    pub(in crate::registry) fn remove_bytes(&self, digest: &Digest) -> Result<(), storage::Error> {
        self.index.removing(digest);
        self.disk.remove_blob(digest)?;
        self.index.removed(digest);
        Ok(())
    }
}
