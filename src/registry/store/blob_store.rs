//! Blobs as the registry sees them: the bytes on disk together with their entries in the index.
//!
//! All blocking work of the registry runs on one of the store's lanes, and gets a [`BlockingStore`]. What reads or
//! changes the disk is a method of that type, or takes it, so that async code cannot call it.

use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    execution::Execution,
    hashing::{Hashed, Promotion, hash_lane, stamp},
    indexed_volume::IndexedVolume,
    last_clients::LastClients,
    name_claims::NameClaims,
    protection::Protection,
    pull_notes::PullNotes,
    shared_work::SharedWork,
    small_blob_cache::SmallBlobCache,
    space_state::SpaceState,
    tag_cache::TagCache,
};
use crate::{
    index::{BlobKind, Index, Origins},
    lanes::{Blocking, Lane, Lanes},
    metrics::Metrics,
    oci::Digest,
    registry::{Error, EvictionRules},
    storage::{
        self, BlobContent, Disk, Durability, DurableStore, NewFile, Published, Purpose, Staged, Storage, Stored,
    },
};

/// The largest blob that is ever read into memory; no accepted or fetched manifest is larger.
pub(in crate::registry) const MAX_IN_MEMORY_BYTES: u64 = 32 << 20;

/// The memory for small blobs that were served, in bytes.
const SMALL_BLOBS_BYTES: u64 = 8 << 20;

/// The bytes of a blob, verified.
#[derive(Debug)]
pub(in crate::registry) enum BlobBytes {
    /// All of them.
    Memory(Bytes),
    /// Its file.
    File(Stored),
}

impl BlobBytes {
    /// Returns the blob's size in bytes.
    pub(in crate::registry) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(stored) => stored.stamp.size,
        }
    }
}

/// A volume and the state that concurrent requests share about it. A clone is another handle to the same store.
///
/// It is made of [parts](StoreParts) that know nothing of each other. A method is here only if it needs several of
/// them: it takes what protects the content, changes the disk on a lane, then records it in the index.
#[derive(Clone, Debug)]
pub(in crate::registry) struct BlobStore(Arc<StoreParts>);

/// The parts of a store, each with its own file that says what it owns.
#[derive(Debug)]
pub(in crate::registry) struct StoreParts {
    /// The data directory, its index and its metrics.
    pub(in crate::registry) volume: IndexedVolume,
    /// The lanes for blocking work, until the store is closed.
    pub(in crate::registry) execution: Execution,
    /// Locks, guards and readers.
    pub(in crate::registry) protection: Protection,
    /// The rules and the state of eviction.
    pub(in crate::registry) space: SpaceState,
    shared_work: SharedWork,
    small_blobs: SmallBlobCache,
    /// Answers of upstreams about tags.
    pub(in crate::registry) tag_cache: TagCache,
    /// Claimed names that are not proven to be free upstream.
    pub(in crate::registry) name_claims: NameClaims,
    /// The clients that asked for manifests last.
    pub(in crate::registry) last_clients: LastClients,
    /// The pulls of hosted content that are noted on the disk.
    pub(in crate::registry) pull_notes: PullNotes,
}

impl Deref for BlobStore {
    type Target = StoreParts;

    fn deref(&self) -> &StoreParts {
        &self.0
    }
}

impl BlobStore {
    /// Creates the store of one volume. `memory` is the time for which the garbage collection guard remembers a push.
    pub(in crate::registry) fn new(
        storage: Storage,
        index: Index,
        eviction_rules: EvictionRules,
        memory: Duration,
        metrics: Arc<Metrics>,
        lanes: Lanes,
    ) -> Self {
        Self(Arc::new(StoreParts {
            volume: IndexedVolume::new(storage, index, eviction_rules.pinned.clone(), metrics),
            shared_work: SharedWork::new(&lanes),
            small_blobs: SmallBlobCache::new(SMALL_BLOBS_BYTES),
            execution: Execution::new(lanes),
            protection: Protection::new(memory),
            space: SpaceState::new(eviction_rules),
            tag_cache: TagCache::new(),
            name_claims: NameClaims::default(),
            last_clients: LastClients::new(),
            pull_notes: PullNotes::new(),
        }))
    }

    /// Returns a published blob whose file is the one that was last verified; `None` when there is none, or when its
    /// bytes must be hashed first.
    pub(in crate::registry) async fn known(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let Some(expected) = self.volume.index.stamp(&digest) else { return Ok(None) };
        let stored = self.blocking(Lane::Look, move |store| store.disk.blob_for_client(&digest)).await?;
        Ok(stored?.filter(|stored| stamp(&stored.stamp) == expected))
    }

    /// As [`BlobStore::known`], for a client: a small blob is read into memory and hashed, and stays there for the next
    /// client. If its bytes are wrong it is dropped, and there is none.
    ///
    /// # Errors
    /// As [`BlobStore::known`].
    pub(in crate::registry) async fn known_bytes(&self, digest: Digest) -> Result<Option<BlobBytes>, Error> {
        let expected = self.volume.index.stamp(&digest);
        if let Some(bytes) = expected.and_then(|expected| self.small_blobs.get(&digest, expected)) {
            return Ok(Some(BlobBytes::Memory(bytes)));
        }
        let Some(stored) = self.known(digest).await? else { return Ok(None) };
        if !SmallBlobCache::accepts_size(stored.stamp.size) {
            return Ok(Some(BlobBytes::File(stored)));
        }
        let verified = stored.stamp;
        let read = move |store: &BlockingStore<'_>| {
            let bytes = store.disk.bytes(&digest, &stored)?;
            Ok::<_, storage::Error>(digest.matches(&bytes).then(|| Bytes::from(bytes)))
        };
        let Some(bytes) = self.blocking(Lane::Read, read).await?? else {
            self.or_drop(digest, Hashed::Wrong(verified)).await?;
            return Ok(None);
        };
        self.small_blobs.insert(digest, stamp(&verified), bytes.clone());
        Ok(Some(BlobBytes::Memory(bytes)))
    }

    /// Returns whether a blob has bytes on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn has(&self, digest: Digest) -> Result<bool, Error> {
        Ok(self.blocking(Lane::Look, move |store| store.disk.blob_size(&digest)).await??.is_some())
    }

    /// Returns a published blob, after hashing its bytes if they are in doubt. All concurrent callers share one
    /// hashing. Wrong bytes are removed.
    ///
    /// # Errors
    /// [`Error::Storage`] if the bytes cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn recheck(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let look = move |store: &BlockingStore<'_>| store.disk.blob_for_client(&digest);
        let Some(stored) = self.blocking(Lane::Look, look).await?? else { return Ok(None) };
        if self.volume.index.stamp(&digest) == Some(stamp(&stored.stamp)) {
            return Ok(Some(stored));
        }
        let recheck = self.or_closed(move |store| store.recheck_now(&digest));
        let hashed = self.shared_work.recheck(digest, hash_lane(stored.stamp.size), recheck).await?;
        self.or_drop(digest, hashed).await
    }

    /// Returns a verified blob. A damaged one is dropped, once for all callers that found it.
    pub(super) async fn or_drop(&self, digest: Digest, hashed: Hashed) -> Result<Option<Stored>, Error> {
        match hashed {
            Hashed::Right(stored) => Ok(Some(stored)),
            Hashed::Absent => Ok(None),
            Hashed::Wrong(facts) => {
                let drop_it = self.or_closed(move |store| store.drop_damaged(&digest, &facts).map(drop));
                self.shared_work.drop_damaged(digest, drop_it).await?;
                Ok(None)
            }
        }
    }

    /// Makes a blob's bytes verified and durable, once for all concurrent callers.
    pub(super) async fn promote_once(&self, digest: Digest, lane: Lane) -> Result<Promotion, Error> {
        let promote = self.or_closed(move |store| store.promote_now(&digest));
        self.shared_work.promote(digest, lane, promote).await
    }

    /// Returns all bytes of a small blob, verified against its digest; `None` for a larger one, since a client may
    /// request a layer's digest as a manifest.
    ///
    /// # Errors
    /// [`Error::Storage`] if the bytes cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn read(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let look = move |store: &BlockingStore<'_>| store.disk.blob_size(&digest);
        if self.blocking(Lane::Look, look).await??.is_none_or(|size| size > MAX_IN_MEMORY_BYTES) {
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
        let held = self.protection.guard_and_lock(&digest).await;
        let publish = move |store: &BlockingStore<'_>| {
            let _held = held;
            store.publish_now(staged, &digest, durability, kind)
        };
        let lane = if durability == Durability::Synced { Lane::Sync } else { Lane::Write };
        self.blocking(lane, publish).await?
    }

    /// Returns the store for code that may block.
    pub(in crate::registry) fn with<'a>(&'a self, io: &'a Blocking) -> BlockingStore<'a> {
        BlockingStore { store: self, disk: self.volume.disk(io), index: &self.volume.index }
    }

    /// Runs blocking work on the given lane.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] if the store is closed by then, [`Error::Panicked`] if the work panics.
    pub(in crate::registry) async fn blocking<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&BlockingStore<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.execution.lanes().run(lane, self.while_open(work)).await;
        done.map_err(|_| Error::Panicked)?.ok_or(Error::ShuttingDown)
    }

    /// Runs blocking work on the given lane without waiting for it. It is skipped if the store is closed by then.
    pub(in crate::registry) fn in_background(
        &self,
        lane: Lane,
        work: impl FnOnce(&BlockingStore<'_>) + Send + 'static,
    ) {
        drop(self.execution.lanes().start(lane, self.while_open(work)));
    }

    /// Returns work for a lane; it yields `None` if the store is closed by then.
    fn while_open<T, W>(&self, work: W) -> impl FnOnce(&Blocking) -> Option<T> + Send + 'static + use<T, W>
    where
        W: FnOnce(&BlockingStore<'_>) -> T + Send + 'static,
    {
        let store = self.clone();
        move |io| {
            let _open = store.execution.while_open()?;
            Some(work(&store.with(io)))
        }
    }

    /// As [`BlobStore::while_open`], for work that may fail.
    fn or_closed<T, W>(&self, work: W) -> impl FnOnce(&Blocking) -> Result<T, Error> + Send + 'static + use<T, W>
    where
        W: FnOnce(&BlockingStore<'_>) -> Result<T, Error> + Send + 'static,
    {
        let work = self.while_open(work);
        move |io| work(io).unwrap_or(Err(Error::ShuttingDown))
    }
}

/// The store on a thread that may block. It has all of [`BlobStore`], and both sides of the volume: the disk, and the
/// index that follows it.
#[derive(Debug)]
pub(in crate::registry) struct BlockingStore<'a> {
    store: &'a BlobStore,
    pub(in crate::registry) disk: Disk<'a>,
    pub(in crate::registry) index: &'a Index,
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
        let Published::New(NewFile { stored, reservation }) = self.disk.publish(staged, digest, durability)? else {
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
        self.volume.record_published(digest, &stored, Origins { mirrored, hosted }, kind);
        drop(reservation);
        Ok(self.disk.release(digest)?)
    }

    /// Returns the local file of a published blob; `None` if there is no blob, or none on this machine.
    pub(super) fn local(&self, digest: &Digest) -> Result<Option<Stored>, storage::Error> {
        Ok(self.disk.open_blob(digest)?.and_then(BlobContent::local))
    }

    /// Returns whether a published blob is the file that was last verified.
    pub(in crate::registry) fn is_unchanged(&self, digest: &Digest) -> Result<bool, Error> {
        let Some(stored) = self.local(digest)? else { return Ok(false) };
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
