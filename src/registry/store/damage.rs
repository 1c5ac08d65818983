//! Damaged blobs: bytes that do not match their digest are found by hashing, then dropped or quarantined.
//!
//! The owners of a blob are known for certain only by a walk over all repositories on disk. The walk can take long, so
//! it runs on the lane for listings and without the digest's lock.

use std::time::Instant;

use super::{
    blob_store::BlockingStore,
    hashing::{Hashed, hash, stamp},
    links,
};
use crate::{
    index::{BlobKind, Origins},
    metrics::{self, MaintenanceEvent},
    oci::{Digest, Repository},
    registry::Error,
    storage::{self, DurableStore, FileStamp, Stored},
};

/// The outcome of handling a damaged blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairResult {
    /// It came from an upstream and was removed.
    Dropped,
    /// It was pushed here and is quarantined.
    Quarantined,
    /// It was pushed here, and an upstream provided the right bytes.
    Restored,
}

impl BlockingStore<'_> {
    /// Hashes a published blob if its bytes are in doubt.
    pub(in crate::registry) fn recheck_now(&self, digest: &Digest) -> Result<Hashed, Error> {
        let Some(stored) = self.local(digest)? else { return Ok(Hashed::Absent) };
        if self.index.stamp(digest) == Some(stamp(&stored.stamp)) {
            return Ok(Hashed::Right(stored));
        }
        let found = hash(self.disk.io(), &stored, digest).map_err(|error| self.disk.unread(digest, error))?;
        if found != *digest {
            return Ok(Hashed::Wrong(stored.stamp));
        }
        self.settle(digest, &stored)?;
        Ok(Hashed::Right(stored))
    }

    /// Records that a file's bytes are verified, unless it was removed or replaced while they were hashed.
    pub(in crate::registry) fn settle(&self, digest: &Digest, stored: &Stored) -> Result<(), storage::Error> {
        let _lock = self.protection.locks.digest(digest);
        if self.local(digest)?.is_some_and(|now| now.stamp == stored.stamp) {
            self.index.verified(digest, stamp(&stored.stamp));
        }
        Ok(())
    }

    /// Hashes a published blob even if the index counts it as verified.
    pub(in crate::registry) fn rehash(&self, digest: &Digest) -> Result<Hashed, Error> {
        self.index.unverified(digest);
        self.recheck_now(digest)
    }

    /// Removes damaged bytes: deletes those that an upstream has, and quarantines those that were pushed here. Returns
    /// the outcome and the owners; `None` if another file has replaced `found` meanwhile.
    ///
    /// # Errors
    /// [`Error::Storage`] if the owners cannot be read or the bytes cannot be moved; the bytes stay then.
    pub(in crate::registry) fn drop_damaged(
        &self,
        digest: &Digest,
        found: &FileStamp,
    ) -> Result<Option<(RepairResult, Vec<Repository>)>, Error> {
        let begun = Instant::now();
        let owners = self.owners(digest)?;
        let _lock = self.protection.locks.digest(digest);
        if self.local(digest)?.is_none_or(|now| now.stamp != *found) {
            return Ok(None);
        }
        let owners = self.with_new_owners(digest, owners, begun)?;
        let origins = self.index.origins(digest);
        let mirrored = origins.mirrored || owners.iter().any(|owner| owner.domain.is_some());
        let hosted = origins.hosted || owners.iter().any(|owner| owner.domain.is_none());
        self.index.removed(digest);
        let (outcome, moved) = if mirrored && !hosted {
            tracing::warn!("{digest} of {} was damaged on disk and is dropped", names(&owners));
            self.volume.metrics.found(MaintenanceEvent::Damaged(metrics::Class::Mirrored));
            (RepairResult::Dropped, self.disk.remove_blob(digest))
        } else {
            tracing::error!("{digest} of {} was damaged on disk and is quarantined: push it again", names(&owners));
            self.volume.metrics.found(MaintenanceEvent::Damaged(metrics::Class::Hosted));
            (RepairResult::Quarantined, self.disk.quarantine(digest))
        };
        if let Err(error) = moved {
            tracing::error!("a damaged blob stays: {error}");
            return Err(error.into());
        }
        Ok(Some((outcome, owners)))
    }

    /// Removes a blob that could not be synced. Returns `false` and keeps it if a hosted repository has it, since it
    /// can at least be read.
    pub(in crate::registry) fn drop_unsynced(&self, digest: &Digest, found: &FileStamp) -> Result<bool, Error> {
        let begun = Instant::now();
        let owners = self.owners(digest)?;
        let _lock = self.protection.locks.digest(digest);
        // Another file may have replaced it meanwhile.
        if self.local(digest)?.is_none_or(|now| now.stamp != *found) {
            return Ok(true);
        }
        let owners = self.with_new_owners(digest, owners, begun)?;
        if self.index.origins(digest).hosted || owners.iter().any(|owner| owner.domain.is_none()) {
            return Ok(false);
        }
        self.remove_bytes(digest)?;
        Ok(true)
    }

    /// Restores a pushed blob from quarantine whose bytes turned out to be right; returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub(in crate::registry) fn take_back(&self, digest: &Digest) -> Result<bool, Error> {
        let _lock = self.protection.locks.digest(digest);
        let Some(stored) = self.disk.take_back(digest)? else { return Ok(false) };
        self.volume.record_published(digest, &stored, Origins { hosted: true, mirrored: false }, BlobKind::Blob);
        Ok(true)
    }

    /// Returns the repositories that link a blob, read from the disk: slow, but independent of the index.
    ///
    /// # Errors
    /// [`storage::Error`] if a repository cannot be read.
    pub(in crate::registry) fn owners(&self, digest: &Digest) -> Result<Vec<Repository>, storage::Error> {
        let mut owners = Vec::new();
        for place in self.disk.repositories() {
            let place = place?;
            if links::has(self.disk, &place, digest)? {
                owners.push(place);
            }
        }
        Ok(owners)
    }

    /// Adds the repositories that the blob was pushed to since `begun`, which the walk may have passed before. The
    /// caller holds the digest's lock.
    fn with_new_owners(
        &self,
        digest: &Digest,
        mut owners: Vec<Repository>,
        begun: Instant,
    ) -> Result<Vec<Repository>, storage::Error> {
        for name in self.protection.gc_guard.entered_since(begun) {
            let place = Repository { domain: None, name };
            if !owners.contains(&place) && links::has(self.disk, &place, digest)? {
                owners.push(place);
            }
        }
        Ok(owners)
    }
}

/// Joins the names of repositories with commas.
pub(in crate::registry) fn names(repositories: &[Repository]) -> String {
    repositories.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
