//! Removes mirrored bytes that no repository references any more, because an operator purged them.

use std::time::Duration;

use super::blob_holders::BlobHolders;
use crate::{
    index::{Link, Owner},
    metrics::EvictionReason,
    oci::{Digest, Repository},
    registry::{
        Error,
        store::{access_tracker, blob_store::BlockingStore, gc_guard::RemovalOutcome},
    },
};

impl BlockingStore<'_> {
    /// Removes the bytes of a mirrored blob that was purged from `place`, unless another repository references it. A
    /// blob in use is removed when it no longer is: an open file that is removed still occupies space. While the index
    /// is made anew, it waits for that. The caller holds the digest's lock.
    ///
    /// # Errors
    /// [`Error::Storage`] if the file cannot be removed.
    pub(in crate::registry) fn remove_unheld(&self, place: &Repository, digest: &Digest) -> Result<(), Error> {
        let held = BlobHolders::of(self.index, digest).filter(|held| held.holding.owner == Owner::Mirrored);
        // A manifest of the place may still name what was purged by its digest, without having it.
        let is_free = |held: &BlobHolders| {
            held.holders.iter().all(|holder| holder == place)
                && self.index.link(place, digest).is_none_or(is_only_named)
        };
        let free = held.filter(is_free);
        // Looked at after the holders were read: an index that is not complete may not know all of them.
        if !self.index.is_complete() {
            self.space.purged.lock().insert((place.clone(), *digest));
            return Ok(());
        }
        let Some(held) = free else { return Ok(()) };
        if !self.protection.is_in_use(digest)
            && let RemovalOutcome::Removed(removed) =
                self.protection.gc_guard.unless_held(None, digest, || self.remove_bytes(digest))
        {
            removed?;
            let idle = Duration::from_secs(access_tracker::now().saturating_sub(held.holding.used));
            self.volume.metrics.evicted(EvictionReason::Command, held.holding.allocated, idle);
            return Ok(());
        }
        self.space.purged.lock().insert((place.clone(), *digest));
        Ok(())
    }

    /// Removes the purged blobs that are no longer in use.
    pub(in crate::registry) fn remove_purged(&self) {
        let purged = std::mem::take(&mut *self.space.purged.lock());
        for (place, digest) in purged {
            let _lock = self.protection.locks.digest(&digest);
            if let Err(error) = self.remove_unheld(&place, &digest) {
                tracing::warn!(%digest, %error, "purged blob not removed; garbage collection removes it");
            }
        }
    }
}

fn is_only_named(link: Link) -> bool {
    !link.layer && !link.revision
}
