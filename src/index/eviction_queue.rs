//! The eviction queue: a tree of its own, sorted in eviction order.
//!
//! A blob's record, its position in the queue and the byte totals change under one lock, so that the three always
//! agree. `transitions.rs` says in which order they are written.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    BlobEntry, BlobKind, EntryChange, Index, Role, Tier, blob_entry::queue_key, blob_record::BlobRecord,
    blobs::MAX_NAMING_MANIFESTS, database::Database, keys,
};
use crate::{oci::Digest, policy::Use};

/// The number of positions that are read at a time.
const BATCH_ENTRIES: usize = 1000;

/// The largest number of deferred blobs that [`Index::deferred`] returns.
const MAX_DEFERRED: usize = 10_000;

/// The order of tiers in which blobs are evicted. Unreachable ones are always the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// Layers before manifests and configs.
    LayersFirst,
    /// Manifests and configs before layers, which become unreachable by that.
    ManifestsFirst,
}

/// A position in the eviction queue.
#[derive(Debug)]
pub struct QueuePosition(Vec<u8>);

/// The blobs outside the queue that [`Index::requeue`] puts back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Those that were deferred until this time or before, in seconds since the epoch.
    Due(u64),
    /// All, the pinned ones too.
    All,
}

/// A blob that cannot be evicted before a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The bytes that it occupies on disk.
    pub bytes: u64,
    /// Seconds since the epoch.
    pub until: u64,
}

type ChangeCallback = Box<dyn Fn(EntryChange) + Send + Sync>;

/// The state that all changes of records share.
#[derive(Default)]
pub(super) struct EvictionQueue {
    pub(super) lock: Mutex<()>,
    /// The rank of the blob that was evicted last.
    pub(super) clock: AtomicU64,
    pub(super) on_change: OnceLock<ChangeCallback>,
    /// Set when a change was lost because the database was not open yet.
    pub(super) missed: AtomicBool,
}

impl std::fmt::Debug for EvictionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvictionQueue").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Index {
    /// Registers the callback for every change of an entry, in order. Only the first call has an effect.
    pub fn on_change(&self, on_change: impl Fn(EntryChange) + Send + Sync + 'static) {
        let _ = self.queue.on_change.set(Box::new(on_change));
    }

    /// Installs an opened database between two changes of entries. If no change was missed, calls `on_time` before the
    /// next one and returns `true`.
    pub(super) fn install(&self, opened: Database, on_time: impl FnOnce()) -> bool {
        let _lock = self.queue.lock.lock();
        self.database.install(opened);
        let missed = self.queue.missed.load(Ordering::Relaxed);
        if !missed {
            on_time();
        }
        !missed
    }

    /// Sets the clock to the rank of the first blob in the queue.
    pub(super) fn resume_queue(&self) {
        let (next, _) = self.next_in_queue(None, 1);
        let first = next.first().and_then(|first| self.blob_entry(first));
        self.queue.clock.fetch_max(first.map_or(0, |first| first.rank), Ordering::Relaxed);
    }

    /// Takes a blob that cannot be evicted now out of the queue, until `until` (seconds since the epoch), or for good.
    pub fn defer(&self, digest: &Digest, until: Option<u64>) {
        let _lock = self.queue.lock.lock();
        let before = self.record(digest);
        let (tier, rank) = until.map_or((Tier::Pinned, 0), |until| (Tier::Deferred, until));
        let deferred = before.entry.map(|known| BlobEntry { tier, rank, ..known });
        self.write(digest, &before, &BlobRecord { entry: deferred, ..before });
    }

    /// Puts deferred blobs back into the queue.
    pub fn requeue(&self, which: Requeue) {
        let from = [Tier::Deferred as u8];
        let until = match which {
            Requeue::All => vec![Tier::Pinned as u8 + 1],
            Requeue::Due(now) => queue_key(Tier::Deferred, now.saturating_add(1), &[]),
        };
        loop {
            let due = self.database.range(|trees| &trees.queue, &from, &until, BATCH_ENTRIES).unwrap_or_default();
            for key in &due {
                if let Some(digest) = key.get(9..).and_then(keys::to_digest) {
                    self.reposition(&digest);
                }
                let _ = self.confirmed(key);
            }
            if due.is_empty() {
                return;
            }
        }
    }

    /// Returns the blobs at the next `limit` positions after `after`, and the last of these positions; `None` at the
    /// end of the queue.
    #[must_use]
    pub fn next_in_queue(&self, after: Option<&QueuePosition>, limit: usize) -> (Vec<Digest>, Option<QueuePosition>) {
        // The smallest key greater than this one is the same with a zero byte appended.
        let from = after.map(|QueuePosition(key)| [key, &[0][..]].concat()).unwrap_or_default();
        let next = self.database.range(|trees| &trees.queue, &from, &[Tier::Deferred as u8], limit).unwrap_or_default();
        let last = next.last().map(|key| QueuePosition(key.to_vec()));
        (next.iter().filter_map(|key| self.confirmed(key)).collect(), last)
    }

    /// Returns the blob to evict next; `None` if the queue is empty.
    #[must_use]
    pub fn next_to_evict(&self, order: EvictionOrder) -> Option<Digest> {
        let tiers = match order {
            EvictionOrder::LayersFirst => [Tier::Unreachable, Tier::Blob, Tier::Manifest],
            EvictionOrder::ManifestsFirst => [Tier::Unreachable, Tier::Manifest, Tier::Blob],
        };
        tiers.into_iter().find_map(|tier| self.first_of(tier))
    }

    fn first_of(&self, tier: Tier) -> Option<Digest> {
        let (from, until) = ([tier as u8], [tier as u8 + 1]);
        loop {
            let first = self.database.range(|trees| &trees.queue, &from, &until, 1).unwrap_or_default();
            // One that is out of date is removed, and another is the first.
            if let Some(digest) = self.confirmed(first.first()?) {
                return Some(digest);
            }
        }
    }

    /// Returns the blob at a position, if its record confirms it. Removes the position otherwise.
    fn confirmed(&self, position: &[u8]) -> Option<Digest> {
        let digest = position.get(9..).and_then(keys::to_digest);
        let confirms = |digest: &Digest| {
            self.blob_entry(digest).and_then(|known| known.queue_key(digest)).is_some_and(|key| key == position)
        };
        if digest.as_ref().is_some_and(confirms) {
            return digest;
        }
        // A position is written before its record: only under the lock is it known to be out of date.
        let _lock = self.queue.lock.lock();
        if digest.as_ref().is_some_and(confirms) {
            return digest;
        }
        self.database.remove(|trees| &trees.queue, position);
        None
    }

    /// Returns the deferred blobs in the order in which they become due, 10,000 at most.
    #[must_use]
    pub fn deferred(&self) -> Vec<Deferred> {
        let (from, until) = ([Tier::Deferred as u8], [Tier::Deferred as u8 + 1]);
        let keys = self.database.range(|trees| &trees.queue, &from, &until, MAX_DEFERRED).unwrap_or_default();
        let each = |key: &sled::IVec| {
            let until = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
            let bytes = self.blob_entry(&keys::to_digest(key.get(9..)?)?)?.allocated;
            Some(Deferred { bytes, until })
        };
        keys.iter().filter_map(each).collect()
    }

    /// Makes the queue anew from the records.
    pub fn enqueue_all(&self) {
        self.database.clear(|trees| &trees.queue);
        for digest in self.blob_batches().flatten() {
            let _lock = self.queue.lock.lock();
            let known = self.record(&digest);
            let entry = known.entry.map(|entry| self.placed(&digest, known.entry, entry));
            // No position is there to be removed.
            let before = BlobRecord { entry: None, ..known };
            self.write(&digest, &before, &BlobRecord { entry, ..known });
        }
    }

    /// Returns the entry with the tier and rank that the eviction policy gives it.
    pub(super) fn placed(&self, digest: &Digest, before: Option<BlobEntry>, known: BlobEntry) -> BlobEntry {
        let tier = match known.kind {
            BlobKind::Manifest => Tier::Manifest,
            BlobKind::Blob => self.role(digest).map_or(Tier::Unreachable, |role| match role {
                Role::Layer => Tier::Blob,
                Role::Manifest => Tier::Manifest,
            }),
        };
        if before.is_some_and(|before| (before.tier, before.used) == (tier, known.used)) {
            return known;
        }
        let clock = self.queue.clock.load(Ordering::Relaxed);
        let now = Use { clock, uses: known.uses, size: known.allocated };
        BlobEntry { tier, rank: now.rank(), ..known }
    }

    /// Returns [`Role::Layer`] if every manifest names the blob as a layer. Reads [`MAX_NAMING_MANIFESTS`] of them at
    /// most: a base layer is one to all.
    fn role(&self, digest: &Digest) -> Option<Role> {
        let (mut role, mut seen) = (None, 0);
        self.database.scan(
            |trees| &trees.parents,
            &keys::parents(digest),
            |_, value| {
                let layer = value.first() == Some(&(Role::Layer as u8));
                role = Some(if layer { Role::Layer } else { Role::Manifest });
                seen += 1;
                layer && seen < MAX_NAMING_MANIFESTS
            },
        );
        role
    }
}
