//! The entry of every blob on disk, and the eviction queue.
//!
//! The queue is a tree of its own, sorted in eviction order. A blob's entry, its position in the queue and the byte
//! totals change under one lock, so that the three always agree.

use std::{
    iter,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{BlobEntry, EntryChange, Index, Owner, Role, Tier, Uses, blob_entry::queue_key, database::Database, keys};
use crate::{
    oci::{Digest, Repository},
    policy::Use,
};

/// At most so many of the manifests that name a blob are read to find its [`Role`].
const NAMED_BY: usize = 64;
/// The largest number of entries that a scan of all of them reads at a time.
const BATCH: usize = 1000;

/// The largest number of deferred blobs that [`Index::deferred`] returns.
const DEFERRED: usize = 10_000;

/// A position in the eviction queue.
#[derive(Debug)]
pub struct QueuePosition(Vec<u8>);

/// A blob that cannot be evicted before a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The bytes that it occupies on disk.
    pub bytes: u64,
    /// Seconds since the epoch.
    pub until: u64,
}

type ChangeCallback = Box<dyn Fn(EntryChange) + Send + Sync>;

/// The state that all changes of entries share.
#[derive(Default)]
pub(super) struct EvictionQueue {
    lock: Mutex<()>,
    /// The rank of the blob that was evicted last.
    clock: AtomicU64,
    on_change: OnceLock<ChangeCallback>,
    /// Set when a change was lost because the database was not open yet.
    missed: AtomicBool,
}

impl std::fmt::Debug for EvictionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvictionQueue").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Index {
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

    /// Registers the callback for every change of an entry, in order. Only the first call has an effect.
    pub fn on_change(&self, on_change: impl Fn(EntryChange) + Send + Sync + 'static) {
        let _ = self.queue.on_change.set(Box::new(on_change));
    }

    /// Calls `each` with every entry and then `done`, while no entry can change.
    pub fn count(&self, mut each: impl FnMut(&BlobEntry), done: impl FnOnce()) {
        let _lock = self.queue.lock.lock();
        self.upstream_totals.recount(|sum| {
            let mut both = |entry: &BlobEntry| {
                each(entry);
                sum(entry);
            };
            self.database.scan(
                |trees| &trees.blob_entries,
                &[],
                |_, value| {
                    BlobEntry::decode(value).iter().for_each(&mut both);
                    true
                },
            );
        });
        done();
    }

    /// Returns the entry of a blob on disk.
    #[must_use]
    pub fn blob_entry(&self, digest: &Digest) -> Option<BlobEntry> {
        BlobEntry::decode(&self.database.get(|trees| &trees.blob_entries, &keys::digest(digest))?)
    }

    /// Records that a blob is on disk and occupies `allocated` bytes. A known owner is never replaced by a less certain
    /// one.
    pub fn insert_blob(&self, digest: &Digest, allocated: u64, owner: Owner, manifest: bool, now: u64) {
        self.change(digest, |before| {
            let fresh = || self.attributed(digest, BlobEntry::new(allocated, owner, manifest, now));
            let known = before.unwrap_or_else(fresh);
            Some(BlobEntry { allocated, owner: owner.max(known.owner), manifest: manifest || known.manifest, ..known })
        });
    }

    /// Sets the owner of a blob.
    pub fn set_owner(&self, digest: &Digest, owner: Owner) {
        self.change(digest, |before| before.map(|known| BlobEntry { owner, ..known }));
    }

    /// Sets the owner of a blob to [`Owner::Mirrored`] if it is [`Owner::Unknown`].
    pub fn set_mirrored_if_unknown(&self, digest: &Digest, manifest: bool) {
        self.change(digest, |before| {
            let known = before?;
            let owner = if known.owner == Owner::Unknown { Owner::Mirrored } else { known.owner };
            Some(BlobEntry { owner, manifest: known.manifest || manifest, ..known })
        });
    }

    /// Removes the entry of a blob that is no longer on disk.
    pub fn remove_blob(&self, digest: &Digest) {
        self.change(digest, |_| None);
    }

    /// As [`Index::remove_blob`], for an evicted blob: advances the clock to its rank.
    pub fn remove_evicted(&self, digest: &Digest) {
        if let Some(gone) = self.blob_entry(digest).filter(|gone| matches!(gone.tier, Tier::Unreachable | Tier::Blob)) {
            self.queue.clock.fetch_max(gone.rank, Ordering::Relaxed);
        }
        self.remove_blob(digest);
    }

    /// Adds the uses since the last call. Uses of blobs without an entry are dropped: they only improve the eviction
    /// order.
    pub fn note_uses(&self, uses: impl IntoIterator<Item = (Digest, Uses)>) {
        if self.database.is_unopened() {
            return;
        }
        for (digest, noted) in uses {
            self.change(&digest, |before| {
                let known = before?;
                let used = known.used.max(noted.last);
                Some(BlobEntry { used, uses: known.uses.saturating_add(noted.count), ..known })
            });
        }
    }

    /// Takes a blob that cannot be evicted now out of the queue, until `until` (seconds since the epoch), or for good.
    pub fn defer(&self, digest: &Digest, until: Option<u64>) {
        let _lock = self.queue.lock.lock();
        if let Some(known) = self.blob_entry(digest) {
            let (tier, rank) = until.map_or((Tier::Pinned, 0), |until| (Tier::Deferred, until));
            self.put(digest, Some(known), Some(BlobEntry { tier, rank, ..known }));
        }
    }

    /// Puts deferred blobs whose time has come back into the queue; if `pinned`, the pinned ones too.
    pub fn requeue(&self, now: u64, pinned: bool) {
        let from = [Tier::Deferred as u8];
        let until =
            if pinned { vec![Tier::Pinned as u8 + 1] } else { queue_key(Tier::Deferred, now.saturating_add(1), &[]) };
        loop {
            let due = self.database.range(|trees| &trees.queue, &from, &until, BATCH).unwrap_or_default();
            for key in &due {
                // Removed unconditionally: the entry may have changed and stand elsewhere in the queue.
                self.database.remove(|trees| &trees.queue, key);
                if let Some(digest) = key.get(9..).and_then(keys::to_digest) {
                    self.change(&digest, |before| before);
                }
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
        let stands = |key: &sled::IVec| {
            let digest = keys::to_digest(key.get(9..)?)?;
            let stands = self
                .blob_entry(&digest)
                .and_then(|known| known.queue_key(&digest))
                .is_some_and(|queue_key| queue_key == key.as_ref());
            if !stands {
                // Stale: the blob is gone, or its position has changed.
                self.database.remove(|trees| &trees.queue, key);
            }
            stands.then_some(digest)
        };
        let last = next.last().map(|key| QueuePosition(key.to_vec()));
        (next.iter().filter_map(stands).collect(), last)
    }

    /// Returns the deferred blobs in the order in which they become due, 10,000 at most.
    #[must_use]
    pub fn deferred(&self) -> Vec<Deferred> {
        let (from, until) = ([Tier::Deferred as u8], [Tier::Deferred as u8 + 1]);
        let keys = self.database.range(|trees| &trees.queue, &from, &until, DEFERRED).unwrap_or_default();
        let each = |key: &sled::IVec| {
            let until = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
            let bytes = self.blob_entry(&keys::to_digest(key.get(9..)?)?)?.allocated;
            Some(Deferred { bytes, until })
        };
        keys.iter().filter_map(each).collect()
    }

    /// Returns the blobs with an entry that come after `after`, sorted by digest, `limit` at most.
    fn blobs_after(&self, after: Option<&Digest>, limit: usize) -> Vec<Digest> {
        let after = after.map(keys::digest).unwrap_or_default();
        let found = self.database.keys(|trees| &trees.blob_entries, &[], &after, limit).unwrap_or_default();
        found.iter().filter_map(|key| keys::to_digest(key)).collect()
    }

    /// Returns the blobs with an entry, sorted by digest, in batches of up to 1000. A batch is read when it is asked for,
    /// so entries may change between two of them.
    pub fn blob_batches(&self) -> impl Iterator<Item = Vec<Digest>> {
        let mut after = None;
        iter::from_fn(move || {
            let batch = self.blobs_after(after.as_ref(), BATCH);
            after = Some(*batch.last()?);
            Some(batch)
        })
    }

    /// Returns the repositories known to link a blob.
    #[must_use]
    pub fn holders(&self, digest: &Digest) -> Vec<Repository> {
        let found = self.database.keys(|trees| &trees.holders, &keys::holders(digest), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_repository(key)).collect()
    }

    /// Records that a cached manifest names a blob.
    pub fn add_parent(&self, child: &Digest, parent: &Digest, role: Role) {
        self.database.put(|trees| &trees.parents, &keys::parent(child, parent), &[role as u8]);
        self.change(child, |before| before);
    }

    /// Records that a manifest that named a blob is no longer cached.
    pub fn remove_parent(&self, child: &Digest, parent: &Digest) {
        self.database.remove(|trees| &trees.parents, &keys::parent(child, parent));
        self.change(child, |before| before);
    }

    /// Returns the cached manifests that name a blob.
    #[must_use]
    pub fn parents(&self, child: &Digest) -> Vec<Digest> {
        let found = self.database.keys(|trees| &trees.parents, &keys::parents(child), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_digest(key)).collect()
    }

    /// Rebuilds the queue from the entries: after a kill the two may disagree.
    pub fn enqueue_all(&self) {
        self.database.clear(|trees| &trees.queue);
        for digest in self.blob_batches().flatten() {
            let _lock = self.queue.lock.lock();
            if let Some(known) = self.blob_entry(&digest) {
                self.put(&digest, None, Some(self.placed(&digest, None, known)));
            }
        }
    }

    pub(super) fn change(&self, digest: &Digest, change: impl FnOnce(Option<BlobEntry>) -> Option<BlobEntry>) {
        let _lock = self.queue.lock.lock();
        if self.database.is_unopened() {
            self.queue.missed.store(true, Ordering::Relaxed);
        }
        let before = self.blob_entry(digest);
        let after = change(before).map(|changed| self.placed(digest, before, changed));
        if before == after {
            return;
        }
        self.put(digest, before, after);
        self.upstream_totals.shift(before.as_ref(), after.as_ref());
        if let Some(on_change) = self.queue.on_change.get() {
            on_change(EntryChange { before, after });
        }
    }

    /// Returns the entry with the tier and rank that the eviction policy gives it.
    fn placed(&self, digest: &Digest, before: Option<BlobEntry>, known: BlobEntry) -> BlobEntry {
        let tier = match known.manifest {
            true => Tier::Manifest,
            false => self.role(digest).map_or(Tier::Unreachable, |role| match role {
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

    /// Returns [`Role::Layer`] if every manifest names the blob as a layer. Reads [`NAMED_BY`] of them at most: a base
    /// layer is one to all.
    fn role(&self, digest: &Digest) -> Option<Role> {
        let (mut role, mut seen) = (None, 0);
        self.database.scan(
            |trees| &trees.parents,
            &keys::parents(digest),
            |_, value| {
                let layer = value.first() == Some(&(Role::Layer as u8));
                role = Some(if layer { Role::Layer } else { Role::Manifest });
                seen += 1;
                layer && seen < NAMED_BY
            },
        );
        role
    }

    fn put(&self, digest: &Digest, before: Option<BlobEntry>, after: Option<BlobEntry>) {
        let key = keys::digest(digest);
        let queue_key = |known: Option<BlobEntry>| known.and_then(|known| known.queue_key(digest));
        let (old, new) = (queue_key(before), queue_key(after));
        if old != new {
            old.iter().for_each(|key| self.database.remove(|trees| &trees.queue, key));
            new.iter().for_each(|key| self.database.put(|trees| &trees.queue, key, &[]));
        }
        match after {
            Some(known) => self.database.put(|trees| &trees.blob_entries, &key, &known.encode()),
            None => self.database.remove(|trees| &trees.blob_entries, &key),
        }
    }
}
