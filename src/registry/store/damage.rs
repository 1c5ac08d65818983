//! Bytes that are not what their digest says: how they are found, and what becomes of them.
//!
//! Whose they are is known from the disk alone, by a walk of all repositories. That takes long where there are many: it is done
//! on a lane that nobody else waits for, and without the digest's claim.

use std::time::Instant;

use super::{
    blob_store::BlobStore,
    hashing::{Hashed, hash, object},
};
use crate::{
    index::{Class, Owner},
    lanes::Lane,
    metrics::{self, MaintenanceEvent},
    oci::{Digest, Repository},
    registry::Error,
    storage::{self, FileStamp, Stored},
};

/// What becomes of damaged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairResult {
    /// They came from an upstream, and went.
    Dropped,
    /// They were pushed here, and are set aside.
    Quarantined,
    /// They were, and an upstream had them too.
    Restored,
}

impl BlobStore {
    /// Hashes a published blob if there is any doubt about its bytes.
    pub(in crate::registry) fn recheck_now(&self, digest: &Digest) -> Result<Hashed, Error> {
        let Some(stored) = self.storage.blob(digest)? else { return Ok(Hashed::Absent) };
        if self.index.object(digest) == Some(object(&stored.facts)) {
            return Ok(Hashed::Right(stored));
        }
        let found = hash(&stored, digest).map_err(|error| self.storage.unread(digest, error))?;
        if found != *digest {
            return Ok(Hashed::Wrong(stored.facts));
        }
        self.index.put_object(digest, &object(&stored.facts));
        Ok(Hashed::Right(stored))
    }

    /// As [`BlobStore::recheck_now`], whatever the index says.
    pub(in crate::registry) fn rehash(&self, digest: &Digest) -> Result<Hashed, Error> {
        self.index.remove_object(digest);
        self.recheck_now(digest)
    }

    /// A blob whose bytes are right. Wrong ones are dropped, once for all who found them.
    pub(in crate::registry) async fn or_drop(&self, digest: Digest, hashed: Hashed) -> Result<Option<Stored>, Error> {
        match hashed {
            Hashed::Right(stored) => Ok(Some(stored)),
            Hashed::Absent => Ok(None),
            Hashed::Wrong(facts) => {
                let store = self.clone();
                let work = move || match store.changing() {
                    Some(_open) => store.drop_damaged(&digest, &facts).map(drop),
                    None => Err(Error::Abandoned),
                };
                self.drops.join(digest, Lane::List, work).await.ok_or(Error::Abandoned)??;
                Ok(None)
            }
        }
    }

    /// Removes wrong bytes: those that can be fetched again go, those that were pushed here are set aside. Right ones may
    /// have taken their place meanwhile: `None` then. Returns what became of them, and whose they are.
    ///
    /// # Errors
    /// When it cannot be known whose they are, or they cannot be moved: they stay.
    pub(in crate::registry) fn drop_damaged(
        &self,
        digest: &Digest,
        found: &FileStamp,
    ) -> Result<Option<(RepairResult, Vec<Repository>)>, Error> {
        let begun = Instant::now();
        let owners = self.owners(digest)?;
        let _claim = self.locks.digest(digest);
        if self.storage.blob(digest)?.is_none_or(|now| now.facts != *found) {
            return Ok(None);
        }
        let owners = self.with_new_owners(digest, owners, begun)?;
        let class = self.index.class(digest);
        let mirrored = class.mirrored || owners.iter().any(|owner| owner.domain.is_some());
        let hosted = class.hosted || owners.iter().any(|owner| owner.domain.is_none());
        self.index.remove_object(digest);
        self.index.remove_class(digest);
        self.index.remove_blob(digest);
        let (outcome, moved) = if mirrored && !hosted {
            tracing::warn!("{digest} of {} was damaged on disk and is dropped", names(&owners));
            self.metrics.found(MaintenanceEvent::Damaged(metrics::Class::Mirrored));
            (RepairResult::Dropped, self.storage.remove_blob(digest))
        } else {
            tracing::error!("{digest} of {} was damaged on disk and is quarantined: push it again", names(&owners));
            self.metrics.found(MaintenanceEvent::Damaged(metrics::Class::Hosted));
            (RepairResult::Quarantined, self.storage.quarantine(digest))
        };
        if let Err(error) = moved {
            tracing::error!("a damaged blob stays: {error}");
            return Err(error.into());
        }
        Ok(Some((outcome, owners)))
    }

    /// Removes the bytes of a blob that could not be synced, unless this registry's own repositories have it: then `false`,
    /// since they can be read at least.
    pub(in crate::registry) fn drop_unsynced(&self, digest: &Digest, found: &FileStamp) -> Result<bool, Error> {
        let begun = Instant::now();
        let owners = self.owners(digest)?;
        let _claim = self.locks.digest(digest);
        // Other bytes may have taken their place meanwhile.
        if self.storage.blob(digest)?.is_none_or(|now| now.facts != *found) {
            return Ok(true);
        }
        let owners = self.with_new_owners(digest, owners, begun)?;
        if self.index.class(digest).hosted || owners.iter().any(|owner| owner.domain.is_none()) {
            return Ok(false);
        }
        self.remove_bytes(digest)?;
        Ok(true)
    }

    /// Takes back what was set aside of a blob that was pushed, and turned out to be right; returns whether it did.
    ///
    /// # Errors
    /// As the disk fails.
    pub(in crate::registry) fn take_back(&self, digest: &Digest) -> Result<bool, Error> {
        let _claim = self.locks.digest(digest);
        let Some(published) = self.storage.take_back(digest)? else { return Ok(false) };
        self.index.add_class(digest, Class { hosted: true, ..Class::default() });
        self.record_published(digest, published, Owner::Hosted, false);
        Ok(true)
    }

    /// The repositories that link a blob, by the disk: slow, and right whatever the index knows.
    ///
    /// # Errors
    /// When one of them cannot be looked at.
    pub(in crate::registry) fn owners(&self, digest: &Digest) -> Result<Vec<Repository>, storage::Error> {
        let mut owners = Vec::new();
        for place in self.storage.repositories() {
            let place = place?;
            if self.storage.links(&place).has(digest)? {
                owners.push(place);
            }
        }
        Ok(owners)
    }

    /// Adds the repositories that a blob was pushed to since a walk `begun`, which may have been past them. The caller holds the
    /// digest's claim.
    fn with_new_owners(
        &self,
        digest: &Digest,
        mut owners: Vec<Repository>,
        begun: Instant,
    ) -> Result<Vec<Repository>, storage::Error> {
        for name in self.gc_guard.entered_since(begun) {
            let place = Repository { domain: None, name };
            if !owners.contains(&place) && self.storage.links(&place).has(digest)? {
                owners.push(place);
            }
        }
        Ok(owners)
    }
}

/// Repositories in a row.
pub(in crate::registry) fn names(repositories: &[Repository]) -> String {
    repositories.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
