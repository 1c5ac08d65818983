//! Makes blobs part of a hosted repository: uploads are published, mirrored blobs are promoted, and both are linked.
//! All of it is synced to the disk, bytes before links (laws 2 and 3 of ARCHITECTURE.md).

use super::{
    blob_store::{BlobStore, BlockingStore},
    hashing::{Hashed, Promotion, hash_lane},
    locks::KeyGuard,
};
use crate::{
    index::{BlobKind, Link, Origins},
    lanes::Lane,
    oci::{Digest, Repository, UploadId},
    registry::Error,
    storage::{Durability, DurableStore, LinkKind, NewFile, Published},
};

impl BlobStore {
    /// Publishes the bytes of an upload and links them. If the blob exists already, it is made durable and kept
    /// instead.
    pub(in crate::registry) async fn host_upload(
        &self,
        place: &Repository,
        upload: UploadId,
        digest: Digest,
    ) -> Result<(), Error> {
        // An existing blob may turn out to be damaged and is removed then, so the second attempt publishes.
        for _ in 0..2 {
            let (into, lock) = (place.clone(), self.protection.locks.wait_for_digest(&digest).await);
            let host = move |store: &BlockingStore<'_>| store.host_first(&into, upload, &digest, &lock);
            if self.blocking(Lane::Sync, host).await?? {
                return Ok(());
            }
            if self.promote(digest).await? && self.link_promoted(place, digest, ()).await? {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Links a promoted blob; returns whether its bytes still exist. `held` is kept until the link is written, even if
    /// the client disconnects.
    pub(in crate::registry) async fn link_promoted<H: Send + 'static>(
        &self,
        place: &Repository,
        digest: Digest,
        held: H,
    ) -> Result<bool, Error> {
        let (place, lock) = (place.clone(), self.protection.locks.wait_for_digest(&digest).await);
        let link = move |store: &BlockingStore<'_>| {
            let _held = held;
            store.host_layer(&place, &digest, &lock)
        };
        self.blocking(Lane::Sync, link).await?
    }

    /// Makes a blob's bytes verified and durable, once for all concurrent callers. Returns `false` if there are none,
    /// or if they were mirrored and cannot be synced.
    pub(in crate::registry) async fn promote(&self, digest: Digest) -> Result<bool, Error> {
        let lock = self.protection.locks.wait_for_digest(&digest).await;
        let own = move |store: &BlockingStore<'_>| {
            // From here on it is not evicted, even if the promotion fails.
            store.index.kept_for_push(&digest);
            drop(lock);
            let durable = store.index.origins(&digest).hosted
                && store.is_unchanged(&digest)?
                && !store.disk.is_unsynced(&digest)?;
            let size = store.disk.blob_size(&digest)?;
            Ok::<_, Error>((durable, size))
        };
        let size = match self.blocking(Lane::Write, own).await?? {
            (true, _) => return Ok(true),
            (false, None) => return Ok(false),
            (false, Some(size)) => size,
        };
        // A small blob is hashed quickly; syncing it takes longer and determines the lane.
        let lane = if hash_lane(size) == Lane::Compute { Lane::Sync } else { hash_lane(size) };
        match self.promote_once(digest, lane).await? {
            Promotion::Durable => Ok(true),
            Promotion::Not(hashed) => self.or_drop(digest, hashed).await.map(|_| false),
            Promotion::Unsynced(facts, error) => {
                if !self.blocking(Lane::List, move |store| store.drop_unsynced(&digest, &facts)).await?? {
                    return Err(error);
                }
                tracing::error!(%digest, %error, "blob not promoted and dropped; fetch or push it again");
                Ok(false)
            }
        }
    }
}

impl BlockingStore<'_> {
    /// Publishes and links an upload. The caller holds the digest's lock. Returns `false` if the blob exists already.
    pub(in crate::registry) fn host_first(
        &self,
        place: &Repository,
        upload: UploadId,
        digest: &Digest,
        lock: &KeyGuard<Digest>,
    ) -> Result<bool, Error> {
        // Nothing of a session is synced for a blob that is here.
        if self.disk.has_blob(digest)? {
            return Ok(false);
        }
        let links = self.disk.links(place);
        links.make_layer_folder(digest)?;
        let committed = self.disk.commit_upload(place, upload, digest);
        let committed = committed.inspect_err(|_| links.remove_empty_layer_folder(digest))?;
        let Published::New(NewFile { stored, reservation }) = committed else { return Ok(false) };
        self.volume.record_published(digest, &stored, Origins { hosted: true, mirrored: false }, BlobKind::Blob);
        drop(reservation);
        self.disk.release(digest)?;
        self.host_layer(place, digest, lock)
    }

    pub(super) fn promote_now(&self, digest: &Digest) -> Result<Promotion, Error> {
        let facts = match self.rehash(digest)? {
            Hashed::Right(stored) => stored.stamp,
            hashed => return Ok(Promotion::Not(hashed)),
        };
        match self.disk.make_durable(digest) {
            Err(error) if error.is_unsynced() => Ok(Promotion::Unsynced(facts, error.into())),
            durable => {
                durable?;
                self.index.promoted(digest);
                Ok(Promotion::Durable)
            }
        }
    }

    /// Links a durable blob into a hosted repository and syncs the link. The caller holds the digest's lock. Returns
    /// whether the bytes still exist, since damaged ones are removed at any time.
    pub(in crate::registry) fn host_layer(
        &self,
        repository: &Repository,
        digest: &Digest,
        _lock: &KeyGuard<Digest>,
    ) -> Result<bool, Error> {
        if self.disk.blob_size(digest)?.is_none() {
            return Ok(false);
        }
        self.index.promoted(digest);
        let added = self.disk.add_link(repository, LinkKind::Layer, digest, Durability::Synced);
        added.inspect_err(|_| self.reread_link(repository, digest))?;
        self.index.linked(repository, digest, Link { layer: true, ..Link::default() });
        Ok(true)
    }
}
