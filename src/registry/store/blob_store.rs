//! Blobs as this floor sees them: bytes on disk together with what the index knows of them. Whatever blocks goes to one of
//! the lanes here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    access_tracker::{self, AccessTracker},
    gc_guard::GcGuard,
    hashing::{Hashed, Promotion, hash_lane, object},
    locks::Locks,
    maintenance_state::{Lack, RebuildState},
    name_claims::NameClaims,
    partial::PartialBlobs,
    single_flight::BlockingSingleFlight,
    tag_cache::TagCache,
    uncached::Uncached,
};
use crate::{
    index::{Class, Index, Link, Owner},
    lanes::{Lane, Lanes},
    metrics::Metrics,
    oci::{Digest, Repository},
    registry::{Error, Retention},
    storage::{self, Durability, Published, Purpose, Staged, Storage, Stored},
};

/// The largest blob that is ever held in memory: larger than any manifest that is taken or fetched.
pub(in crate::registry) const SMALL: u64 = 32 << 20;
/// How long what is under way may take when the books are closed.
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
    /// What upstreams said of tags.
    pub(in crate::registry) tag_cache: Arc<TagCache>,
    pub(in crate::registry) name_claims: Arc<NameClaims>,
    /// Held while the index is told what is on disk.
    pub(in crate::registry) rebuilding: Arc<Mutex<RebuildState>>,
    /// Held while room is made; what could not be had last.
    pub(in crate::registry) room: Arc<AsyncMutex<Option<Lack>>>,
    pub(in crate::registry) metrics: Arc<Metrics>,
    pub(in crate::registry) lanes: Lanes,
    pub(in crate::registry) uncached: Arc<Uncached>,
    /// Blobs in doubt that are being hashed.
    rechecks: Arc<BlockingSingleFlight<Digest, Result<Hashed, Error>>>,
    /// Damaged blobs that are being dropped.
    pub(in crate::registry) drops: Arc<BlockingSingleFlight<Digest, Result<(), Error>>>,
    /// Mirrored blobs that are becoming this registry's own.
    pub(in crate::registry) promotions: Arc<BlockingSingleFlight<Digest, Result<Promotion, Error>>>,
    /// Whether the books are closed. Held, for reading, by fills, pushes and evictions, which change them.
    pub(in crate::registry) closed: Arc<RwLock<bool>>,
}

impl BlobStore {
    /// Over one volume. `memory` is how long a push is remembered, for the collector's sake.
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
            rebuilding: Arc::default(),
            room: Arc::default(),
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

    /// A published blob whose file is the one whose bytes were last found right; `None` when there is none, or when that
    /// has to be found out first.
    pub(in crate::registry) async fn known(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let Some(expected) = self.index.object(&digest) else { return Ok(None) };
        let stored = self.blocking(Lane::Look, move |store| store.storage.blob_for_client(&digest)).await?;
        Ok(stored?.filter(|stored| object(&stored.facts) == expected))
    }

    /// Returns whether a blob has bytes here.
    ///
    /// # Errors
    /// When that cannot be known.
    pub(in crate::registry) async fn has(&self, digest: Digest) -> Result<bool, Error> {
        Ok(self.blocking(Lane::Look, move |store| store.storage.has_blob(&digest)).await??)
    }

    /// A published blob, its bytes hashed if there is any doubt about them, once for all who ask. Wrong ones are removed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::registry) async fn recheck(&self, digest: Digest) -> Result<Option<Stored>, Error> {
        let look = move |store: &Self| store.storage.blob_for_client(&digest);
        let Some(stored) = self.blocking(Lane::Look, look).await?? else { return Ok(None) };
        if self.index.object(&digest) == Some(object(&stored.facts)) {
            return Ok(Some(stored));
        }
        let (lane, store) = (hash_lane(stored.facts.size), self.clone());
        let work = move || match store.changing() {
            Some(_open) => store.recheck_now(&digest),
            None => Err(Error::Abandoned),
        };
        self.or_drop(digest, self.rechecks.join(digest, lane, work).await.ok_or(Error::Abandoned)??).await
    }

    /// Whether a published blob is the file whose bytes were last found right.
    pub(in crate::registry) fn is_unchanged(&self, digest: &Digest) -> Result<bool, Error> {
        let Some(stored) = self.storage.blob(digest)? else { return Ok(false) };
        Ok(self.index.object(digest) == Some(object(&stored.facts)))
    }

    /// Notes that a file's bytes are right.
    pub(in crate::registry) fn settle(&self, digest: &Digest, stored: &Stored) {
        let object = object(&stored.facts);
        if self.index.object(digest) != Some(object) {
            self.index.put_object(digest, &object);
        }
    }

    /// Removes bytes that nothing links. The caller holds their claim.
    pub(in crate::registry) fn remove_bytes(&self, digest: &Digest) -> Result<(), storage::Error> {
        self.index.remove_object(digest);
        self.index.remove_class(digest);
        self.storage.remove_blob(digest)?;
        self.index.remove_blob(digest);
        Ok(())
    }

    /// Bytes that none of this registry's own repositories links any more, and a mirrored one does: they may go as any that
    /// came from an upstream. The caller holds their claim.
    pub(in crate::registry) fn demote_to_mirrored(&self, digest: &Digest) {
        if self.index.class(digest).hosted {
            self.index.put_class(digest, Class { hosted: false, mirrored: true });
        }
        self.index.set_owner(digest, Owner::Mirrored);
    }

    /// All bytes of a small blob, hashed on the way; `None` for one that is not small: a layer's digest may be asked for as
    /// a manifest.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::registry) async fn read(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let look = move |store: &Self| store.storage.blob(&digest);
        if self.blocking(Lane::Look, look).await??.is_none_or(|stored| stored.facts.size > SMALL) {
            return Ok(None);
        }
        let Some(stored) = self.recheck(digest).await? else { return Ok(None) };
        let read = move |store: &Self| {
            let bytes = store.storage.bytes(&digest, &stored)?;
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
        let staged =
            self.blocking(Lane::Write, move |_| staged.writer().write_at(&bytes, 0).map(|()| staged)).await??;
        self.publish(staged, digest, durability, true).await
    }

    /// An empty staged file for a blob, with room for `size` bytes.
    pub(in crate::registry) async fn stage(
        &self,
        digest: &Digest,
        purpose: Purpose,
        size: u64,
    ) -> Result<Staged, Error> {
        let reservation = self.room_for(purpose, size).await?;
        let digest = *digest;
        Ok(self.blocking(Lane::Write, move |store| store.storage.stage(&digest, reservation, size)).await??)
    }

    /// Publishes a staged file that was found to hash to `digest`. It may be a `manifest`. Waits while others have the blob in
    /// hand: damaged bytes of it may be on their way into quarantine.
    pub(in crate::registry) async fn publish(
        &self,
        staged: Staged,
        digest: Digest,
        durability: Durability,
        manifest: bool,
    ) -> Result<(), Error> {
        let present = self.gc_guard.guard_blob(&digest).await;
        let claim = self.locks.wait_for_digest(&digest).await;
        let publish = move |store: &Self| {
            let (_present, _claim) = (present, claim);
            let mirrored = durability == Durability::Unsynced;
            // Damaged bytes of something that was pushed here: these take their place, as durable as they were. Nobody relies
            // on them before they are.
            let hosted = !mirrored || store.storage.is_quarantined(&digest)?;
            let published = store.storage.publish(staged, &digest, durability)?;
            if published.first {
                if hosted
                    && mirrored
                    && let Err(error) = store.storage.make_durable(&digest)
                {
                    // Nothing links it yet, and what is set aside stays.
                    store.storage.remove_blob(&digest)?;
                    return Err(error.into());
                }
                store.index.put_class(&digest, Class { mirrored, hosted });
                let owner = if hosted { Owner::Hosted } else { Owner::Mirrored };
                store.record_published(&digest, published, owner, manifest);
                store.storage.release(&digest)?;
            }
            Ok(())
        };
        let lane = if durability == Durability::Synced { Lane::Sync } else { Lane::Write };
        self.blocking(lane, publish).await?
    }

    /// Notes a file that has just been published and whose bytes are right. Its reservation goes when it is counted.
    pub(in crate::registry) fn record_published(
        &self,
        digest: &Digest,
        published: Published,
        owner: Owner,
        manifest: bool,
    ) {
        let Published { stored, reservation, .. } = published;
        self.index.put_object(digest, &object(&stored.facts));
        self.index.insert_blob(digest, stored.allocated, owner, manifest, access_tracker::now());
        drop(reservation);
    }

    /// Links a blob into a repository that has shown its right to it. A link that cannot be written costs a question
    /// upstream next time.
    pub(in crate::registry) async fn link_layer(&self, repository: &Repository, digest: Digest) {
        let repository = repository.clone();
        let present = self.gc_guard.guard_blob(&digest).await;
        let claim = self.locks.wait_for_digest(&digest).await;
        let link = move |store: &Self| {
            let (_present, _claim) = (present, claim);
            let linked = store.storage.has_blob(&digest).and_then(|here| {
                if here {
                    store.storage.links(&repository).add_layer(&digest, Durability::Unsynced)?;
                }
                Ok(here)
            });
            match linked {
                Ok(false) => {}
                Err(error) => tracing::warn!("{digest} is not linked in {repository}: {error}"),
                Ok(true) => {
                    store.index.add_class(&digest, Class { mirrored: true, ..Class::default() });
                    store.index.add_repository(&repository);
                    store.index.add_link(&repository, &digest, Link { layer: true, ..Link::default() });
                }
            }
        };
        let _ = self.blocking(Lane::Write, link).await;
    }

    /// Whether what the index knows of a repository still holds. Only this program writes mirrored ones.
    pub(in crate::registry) fn trusts_index(&self, repository: &Repository) -> bool {
        repository.domain.is_some() || self.index.is_complete()
    }

    /// Runs what blocks, on a lane that fits how long it takes.
    pub(in crate::registry) async fn blocking<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let work = move || {
            let _open = store.changing()?;
            Some(work(&store))
        };
        self.lanes.run(lane, work).await.ok().flatten().ok_or(Error::Abandoned)
    }

    /// Held while something is stored or evicted; `None` once the books are closed.
    pub(in crate::registry) fn changing(&self) -> Option<RwLockReadGuard<'_, bool>> {
        // Work may ask for it that has it already.
        Some(self.closed.read_recursive()).filter(|closed| !**closed)
    }

    /// Closes the books. `false`, where something that changes them does not end in time.
    pub(in crate::registry) fn close(&self) -> bool {
        self.closed.try_write_for(CLOSING).map(|mut closed| *closed = true).is_some()
    }
}
