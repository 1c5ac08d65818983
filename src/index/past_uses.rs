//! Past uses of blobs, for an index that is made anew: the disk tells nothing of them but what was saved there.

use std::sync::atomic::Ordering;

use super::{BlobEntry, Index, Owner, Tier, blob_record::BlobRecord, keys};
use crate::{oci::Digest, policy::Use};

/// The past uses of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastUse {
    /// The time of the last one, in seconds since the epoch.
    pub used: u64,
    /// The number of uses.
    pub uses: u32,
    /// The rank in the eviction queue; `None` for a blob that was not in it.
    pub rank: Option<u64>,
}

impl Index {
    /// Returns whether the index was made anew and [`Index::end_restoring_uses`] was not called since.
    #[must_use]
    pub fn lacks_uses(&self) -> bool {
        self.database.get(|trees| &trees.meta, keys::HAS_USES).is_none()
    }

    /// Calls `each` with the uses of every mirrored blob, sorted by digest.
    pub fn past_uses(&self, mut each: impl FnMut(&Digest, PastUse)) {
        let mut visit = |key: &[u8], value: &[u8]| {
            let entry = BlobRecord::decode(value).and_then(|record| record.entry);
            let entry = entry.filter(|entry| entry.owner == Owner::Mirrored);
            if let (Some(digest), Some(BlobEntry { used, uses, rank, .. })) = (keys::to_digest(key), entry) {
                each(&digest, PastUse { used, uses, rank: entry.filter(is_ranked).map(|_| rank) });
            }
            true
        };
        self.database.scan(|trees| &trees.blobs, &[], &mut visit);
    }

    /// Returns the rank of the blob that was evicted last.
    #[must_use]
    pub fn eviction_clock(&self) -> u64 {
        self.queue.clock.load(Ordering::Relaxed)
    }

    /// Begins to restore past uses. What is used from here on ranks above what was evicted before.
    pub fn begin_restoring_uses(&self, eviction_clock: u64) {
        self.queue.clock.fetch_max(eviction_clock, Ordering::Relaxed);
    }

    /// Restores the past uses of a blob. If it was used since the index was made, they are added to those.
    pub fn restore_uses(&self, digest: &Digest, past: PastUse) {
        let _lock = self.queue.lock.lock();
        self.update(digest, |before| BlobRecord {
            entry: before.entry.map(|known| self.with_past(known, past)),
            ..before
        });
    }

    /// Records that all past uses are restored.
    pub fn end_restoring_uses(&self) {
        self.database.put(|trees| &trees.meta, keys::HAS_USES, &[]);
    }

    fn with_past(&self, known: BlobEntry, past: PastUse) -> BlobEntry {
        let is_used_since = known.used > past.used;
        let uses = if is_used_since { known.uses.saturating_add(past.uses) } else { known.uses.max(past.uses) };
        let restored = BlobEntry { used: known.used.max(past.used), uses, ..known };
        if !is_ranked(&known) {
            return restored;
        }
        let now = Use { clock: self.eviction_clock(), uses, size: known.allocated };
        BlobEntry { rank: past.rank.filter(|_| !is_used_since).unwrap_or_else(|| now.rank()), ..restored }
    }
}

/// Returns whether an entry has a rank: that of a deferred blob is a time.
fn is_ranked(entry: &BlobEntry) -> bool {
    !matches!(entry.tier, Tier::Deferred | Tier::Pinned)
}
