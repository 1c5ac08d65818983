//! Saves the eviction history of mirrored blobs (last use, number of uses, rank) now and then, and restores it into an
//! index that was rebuilt from the disk, so that the loss of an index does not change the order of eviction. The format
//! is in `storage/last_uses.rs`. Pins need no record: they follow from the configuration and the links.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{
    index::PastUse,
    registry::store::blob_store::BlockingStore,
    storage::{LastUse, LastUses},
};

/// The interval of saving: if the process is killed and the index is lost, at most this much history is lost.
const SAVE_INTERVAL: Duration = Duration::from_mins(30);

/// The time at which the uses were last saved, or of the start. It is locked while they are saved.
#[derive(Debug)]
pub(in crate::registry) struct SavedUses(Mutex<Instant>);

impl Default for SavedUses {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl SavedUses {
    /// Saves the uses if that is due.
    pub(in crate::registry) fn save_if_due(&self, store: &BlockingStore<'_>) {
        if self.0.lock().elapsed() >= SAVE_INTERVAL {
            self.save(store);
        }
    }

    /// Saves the uses. An index that does not know all of them leaves those that were saved before.
    pub(in crate::registry) fn save(&self, store: &BlockingStore<'_>) {
        let mut saved = self.0.lock();
        let index = store.index;
        if !index.is_complete() || index.lacks_uses() {
            return;
        }
        let mut uses = LastUses::new(index.eviction_clock());
        index.past_uses(|digest, past| {
            uses.push(digest, LastUse { used: past.used, uses: past.uses, rank: past.rank.unwrap_or(0) });
        });
        // A failed index has not returned all of them.
        if !index.is_complete() {
            return;
        }
        if let Err(error) = store.disk.save_last_uses(&uses) {
            tracing::warn!(%error, "last uses of mirrored blobs not saved");
        }
        *saved = Instant::now();
    }
}

/// Restores the saved uses into an index that was made anew from the disk.
pub(super) fn restore(store: &BlockingStore<'_>) {
    if !store.index.lacks_uses() {
        return;
    }
    match store.disk.last_uses() {
        Ok(Some(uses)) => restore_all(store, &uses),
        Ok(None) => {}
        // They may be readable later: until then nothing replaces them.
        Err(error) => {
            tracing::warn!(%error, "last uses not readable; eviction uses the times on disk until a restart");
            return;
        }
    }
    store.index.end_restoring_uses();
}

fn restore_all(store: &BlockingStore<'_>, uses: &LastUses) {
    store.index.begin_restoring_uses(uses.clock());
    for digest in store.index.blob_batches().flatten() {
        if let Some(LastUse { used, uses, rank }) = uses.get(&digest) {
            let rank = Some(rank).filter(|rank| *rank > 0);
            store.index.restore_uses(&digest, PastUse { used, uses, rank });
        }
    }
}
