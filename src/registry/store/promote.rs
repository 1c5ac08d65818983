//! Bytes become this registry's own: pushed ones are published, mirrored ones promoted, and either is linked, durably
//! (laws 2 and 3).

use super::{
    blob_store::BlobStore,
    hashing::{Hashed, Promotion, hash_lane},
    locks::KeyGuard,
};
use crate::{
    index::{Class, Link, Owner},
    lanes::Lane,
    oci::{Digest, Repository},
    registry::Error,
    storage::{Durability, Upload},
};

impl BlobStore {
    /// Publishes what a session received and links it. Bytes that are there already are made durable and kept instead.
    pub(in crate::registry) async fn host_upload(
        &self,
        place: &Repository,
        upload: &Upload,
        digest: Digest,
    ) -> Result<(), Error> {
        // What is there may turn out to be damaged, and is out of the way then: the second try finds the place free.
        for _ in 0..2 {
            let (into, upload, claim) = (place.clone(), upload.clone(), self.locks.wait_for_digest(&digest).await);
            let host = move |store: &Self| store.host_first(&into, &upload, &digest, &claim);
            if self.blocking(Lane::Sync, host).await?? {
                return Ok(());
            }
            if self.promote(digest).await? && self.link_promoted(place, digest, ()).await? {
                return Ok(());
            }
        }
        Err(Error::Abandoned)
    }

    /// `false` where other bytes have the name already.
    fn host_first(
        &self,
        place: &Repository,
        upload: &Upload,
        digest: &Digest,
        claim: &KeyGuard<Digest>,
    ) -> Result<bool, Error> {
        let published = self.storage.publish_upload(upload, digest)?;
        if !published.first {
            return Ok(false);
        }
        self.record_published(digest, published, Owner::Hosted, false);
        self.storage.release(digest)?;
        self.host_layer(place, digest, claim)
    }

    /// Links a promoted blob; returns whether its bytes are still here. What has to last as long as that takes is `held`: the
    /// client may leave.
    pub(in crate::registry) async fn link_promoted<H: Send + 'static>(
        &self,
        place: &Repository,
        digest: Digest,
        held: H,
    ) -> Result<bool, Error> {
        let (place, claim) = (place.clone(), self.locks.wait_for_digest(&digest).await);
        let link = move |store: &Self| {
            let _held = held;
            store.host_layer(&place, &digest, &claim)
        };
        self.blocking(Lane::Sync, link).await?
    }

    /// Makes sure that a blob's bytes are here, right, and durable, once for all who ask. `false` when they are not here;
    /// mirrored ones that cannot be synced are not.
    pub(in crate::registry) async fn promote(&self, digest: Digest) -> Result<bool, Error> {
        let claim = self.locks.wait_for_digest(&digest).await;
        let own = move |store: &Self| {
            // From here on it is not evicted, whatever becomes of this.
            store.index.set_owner(&digest, Owner::Hosted);
            drop(claim);
            let durable = store.index.class(&digest).hosted
                && store.is_unchanged(&digest)?
                && !store.storage.is_unsynced(&digest)?;
            let size = store.storage.blob(&digest)?.map(|stored| stored.facts.size);
            Ok::<_, Error>((durable, size))
        };
        let size = match self.blocking(Lane::Write, own).await?? {
            (true, _) => return Ok(true),
            (false, None) => return Ok(false),
            (false, Some(size)) => size,
        };
        let store = self.clone();
        let promote = move || match store.changing() {
            Some(_open) => store.promote_now(&digest),
            None => Err(Error::Abandoned),
        };
        // A small one is hashed in no time and then synced, which takes longer.
        let lane = if hash_lane(size) == Lane::Compute { Lane::Sync } else { hash_lane(size) };
        match self.promotions.join(digest, lane, promote).await.ok_or(Error::Abandoned)?? {
            Promotion::Durable => Ok(true),
            Promotion::Not(hashed) => self.or_drop(digest, hashed).await.map(|_| false),
            Promotion::Unsynced(facts, error) => {
                if !self.blocking(Lane::List, move |store| store.drop_unsynced(&digest, &facts)).await?? {
                    return Err(error);
                }
                tracing::error!("{digest} is dropped, to be fetched or pushed again: {error}");
                Ok(false)
            }
        }
    }

    fn promote_now(&self, digest: &Digest) -> Result<Promotion, Error> {
        let facts = match self.rehash(digest)? {
            Hashed::Right(stored) => stored.facts,
            hashed => return Ok(Promotion::Not(hashed)),
        };
        match self.storage.make_durable(digest) {
            Err(error) if error.is_unsynced() => Ok(Promotion::Unsynced(facts, error.into())),
            durable => {
                durable?;
                self.index.add_class(digest, Class { hosted: true, ..Class::default() });
                Ok(Promotion::Durable)
            }
        }
    }

    /// Links a durable blob, whose claim the caller holds, into one of this registry's own repositories, durably. Returns
    /// whether its bytes are still here: damaged ones go whoever relies on them.
    pub(in crate::registry) fn host_layer(
        &self,
        repository: &Repository,
        digest: &Digest,
        _claim: &KeyGuard<Digest>,
    ) -> Result<bool, Error> {
        if !self.storage.has_blob(digest)? {
            return Ok(false);
        }
        self.index.add_class(digest, Class { hosted: true, ..Class::default() });
        self.index.set_owner(digest, Owner::Hosted);
        let added = self.storage.links(repository).add_layer(digest, Durability::Synced);
        added.inspect_err(|_| self.reread_link(repository, digest))?;
        self.index.add_link(repository, digest, Link { layer: true, ..Link::default() });
        Ok(true)
    }
}
