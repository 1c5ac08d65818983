//! Bytes become this registry's own: pushed ones are published, mirrored ones promoted, and either is linked, durably
//! (laws 2 and 3).

use super::{Error, Registry, objects::Objects};
use crate::{
    index::{Class, Link, Owner},
    lanes::Lane,
    oci::{Digest, Repository},
    storage::{Durability, Purpose, Upload},
};

impl Registry {
    /// Links a blob of another repository, uploading nothing (distribution-spec, "Mounting a blob from another
    /// repository"). Without `from`, any repository of this registry's own will do. `false` when it is not to be had.
    ///
    /// # Errors
    /// As the disk fails.
    pub async fn mount(&self, into: &Repository, digest: Digest, from: Option<&Repository>) -> Result<bool, Error> {
        let known = match from {
            Some(from) => self.may_read(from, &digest).await,
            None => self.objects.index.class(&digest).hosted,
        };
        if !known {
            return Ok(false);
        }
        let place = into.clone();
        let _room = self.objects.room_for(Purpose::Hosted, 0).await?;
        let mount = move |objects: &Objects| {
            let _present = objects.activity.enter(&place, Some(&digest));
            let promoted = objects.promote(&digest)?;
            if promoted {
                objects.host_layer(&place, &digest)?;
            }
            Ok(promoted)
        };
        self.objects.blocking(Lane::Sync, mount).await?
    }
}

impl Objects {
    /// Publishes what a session received. Bytes that are there already are made durable and kept instead.
    pub(super) fn publish_upload(&self, upload: &Upload, digest: &Digest) -> Result<(), Error> {
        // What is there may turn out to be damaged, and is out of the way then: the second try finds the place free.
        for _ in 0..2 {
            let published = self.storage.publish_upload(upload, digest)?;
            if published.first {
                self.enter(digest, published, Owner::Hosted, false);
                self.storage.release(digest)?;
                return Ok(());
            }
            if self.promote(digest)? {
                return Ok(());
            }
        }
        Err(Error::Abandoned)
    }

    /// Makes sure that a blob's bytes are here, right, and durable. `false` when they are not here; mirrored ones that
    /// cannot be synced are not.
    pub(super) fn promote(&self, digest: &Digest) -> Result<bool, Error> {
        {
            // From here on it is not evicted, whatever becomes of this.
            let _claim = self.claims.digest(digest);
            self.index.own(digest, Owner::Hosted);
        }
        if self.index.class(digest).hosted && self.is_unchanged(digest)? {
            return Ok(true);
        }
        if self.rehash(digest).is_none() {
            return Ok(false);
        }
        match self.storage.make_durable(digest) {
            Err(error) if error.is_unsynced() && self.drop_unsynced(digest)? => {
                tracing::error!("{digest} is dropped, to be fetched or pushed again: {error}");
                Ok(false)
            }
            durable => Ok(durable.map(|()| true)?),
        }
    }

    /// Removes the bytes of a blob that could not be synced, unless this registry's own repositories have it: then `false`,
    /// since they can be read at least.
    fn drop_unsynced(&self, digest: &Digest) -> Result<bool, Error> {
        let _claim = self.claims.digest(digest);
        let hosted = self.index.class(digest).hosted;
        if hosted || self.owners(digest).iter().any(|owner| owner.domain.is_none()) {
            return Ok(false);
        }
        self.remove_bytes(digest)?;
        Ok(true)
    }

    /// Links a durable blob into one of this registry's own repositories, durably.
    pub(super) fn host_layer(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        let _claim = self.claims.digest(digest);
        self.index.add_class(digest, Class { hosted: true, ..Class::default() });
        self.index.own(digest, Owner::Hosted);
        self.storage.links(repository).add_layer(digest, Durability::Synced)?;
        self.index.add_link(repository, digest, Link { layer: true, ..Link::default() });
        Ok(())
    }
}
