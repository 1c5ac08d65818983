//! Saves the eviction history of mirrored blobs (last use, number of uses, rank) now and then, and restores it into an
//! index that was rebuilt from the disk, so that the loss of an index does not change the order of eviction. The format
//! is in `storage/last_uses.rs`. Pins need no record: they follow from the configuration and the links.

use std::time::{Duration, Instant};

use crate::{
    index::PastUse,
    registry::store::blob_store::BlockingStore,
    storage::{LastUse, LastUses},
};

/// The interval of saving: if the process is killed and the index is lost, at most this much history is lost.
const SAVE_EVERY: Duration = Duration::from_mins(30);

impl BlockingStore<'_> {
    /// Saves the uses if that is due.
    pub(in crate::registry) fn save_uses_if_due(&self) {
        if self.uses_saved.lock().elapsed() >= SAVE_EVERY {
            self.save_uses();
        }
    }

    /// Saves the uses. An index that does not know all of them leaves those that were saved before.
    pub(in crate::registry) fn save_uses(&self) {
        let mut saved = self.uses_saved.lock();
        if !self.index.is_complete() || self.index.lacks_uses() {
            return;
        }
        let mut uses = LastUses::new(self.index.eviction_clock());
        self.index.past_uses(|digest, past| {
            uses.push(digest, LastUse { used: past.used, uses: past.uses, rank: past.rank.unwrap_or(0) });
        });
        // A failed index has not returned all of them.
        if !self.index.is_complete() {
            return;
        }
        if let Err(error) = self.disk.save_last_uses(&uses) {
            tracing::warn!("the last uses of mirrored blobs are not saved: {error}");
        }
        *saved = Instant::now();
    }

    /// Restores the saved uses into an index that was made anew from the disk.
    pub(in crate::registry) fn restore_uses(&self) {
        if !self.index.lacks_uses() {
            return;
        }
        match self.disk.last_uses() {
            Ok(Some(uses)) => self.restore(&uses),
            Ok(None) => {}
            // They may be readable later: until then nothing replaces them.
            Err(error) => {
                tracing::warn!(%error, "the last uses cannot be read: eviction goes by the times on disk until a restart");
                return;
            }
        }
        self.index.end_restoring_uses();
    }

    fn restore(&self, uses: &LastUses) {
        self.index.begin_restoring_uses(uses.clock());
        for digest in self.index.blob_batches().flatten() {
            if let Some(LastUse { used, uses, rank }) = uses.get(&digest) {
                let rank = Some(rank).filter(|rank| *rank > 0);
                self.index.restore_uses(&digest, PastUse { used, uses, rank });
            }
        }
    }
}
