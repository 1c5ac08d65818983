//! The holdings of every blob on disk, and the line for eviction.
//!
//! The line is a tree of its own, in the order in which objects would go. A place in it and the holding it belongs to
//! change under one lock, and whoever counts bytes is told under it, so that no two of the three ever disagree.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{BlobEntry, EntryChange, Index, Owner, Role, Tier, Uses, blob_entry::place, database::Database, keys};
use crate::{
    oci::{Digest, Repository},
    policy::Use,
};

/// How many of the manifests that name a blob are looked at for what it is to them.
const NAMED_BY: usize = 64;
/// How many are looked at together where all are.
const BATCH: usize = 1000;

/// How much of what cannot go now is looked at, for a message.
const DEFERRED: usize = 10_000;

/// A place in the line.
#[derive(Debug)]
pub struct QueuePosition(Vec<u8>);

/// Something that cannot go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// What it occupies.
    pub bytes: u64,
    /// Seconds since the epoch.
    pub until: u64,
}

type ChangeCallback = Box<dyn Fn(EntryChange) + Send + Sync>;

/// What the holdings share.
#[derive(Default)]
pub(super) struct EvictionQueue {
    lock: Mutex<()>,
    /// The rank of the last object that went.
    clock: AtomicU64,
    on_change: OnceLock<ChangeCallback>,
    /// Whether a change could not be noted, as the database was not open yet.
    missed: AtomicBool,
}

impl std::fmt::Debug for EvictionQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Index {
    /// Takes over an opened database between two changes of holdings. `on_time` is called if none was missed, before the
    /// next; so is told.
    pub(super) fn install(&self, opened: Database, on_time: impl FnOnce()) -> bool {
        let _lock = self.queue.lock.lock();
        self.database.install(opened);
        let missed = self.queue.missed.load(Ordering::Relaxed);
        if !missed {
            on_time();
        }
        !missed
    }

    /// The clock goes on where the first in the line stands.
    pub(super) fn resume_queue(&self) {
        let (next, _) = self.next_in_queue(None, 1);
        let first = next.first().and_then(|first| self.blob_entry(first));
        self.queue.clock.fetch_max(first.map_or(0, |first| first.rank), Ordering::Relaxed);
    }

    /// Has somebody told of every change of a holding, in order. Once.
    pub fn on_change(&self, on_change: impl Fn(EntryChange) + Send + Sync + 'static) {
        let _ = self.queue.on_change.set(Box::new(on_change));
    }

    /// Counts everything, calling `each` with every holding and then `done`, while nothing changes.
    pub fn count(&self, mut each: impl FnMut(&BlobEntry), done: impl FnOnce()) {
        let _lock = self.queue.lock.lock();
        self.board.recount(|sum| {
            let mut both = |held: &BlobEntry| {
                each(held);
                sum(held);
            };
            self.database.scan(
                |trees| &trees.holdings,
                &[],
                |_, value| {
                    BlobEntry::decode(value).iter().for_each(&mut both);
                    true
                },
            );
        });
        done();
    }

    /// What is known of a blob on disk.
    #[must_use]
    pub fn blob_entry(&self, digest: &Digest) -> Option<BlobEntry> {
        BlobEntry::decode(&self.database.get(|trees| &trees.holdings, &keys::digest(digest))?)
    }

    /// Says that a blob is on disk and occupies `allocated` bytes. Whose it is, is changed by nothing less certain.
    pub fn insert_blob(&self, digest: &Digest, allocated: u64, owner: Owner, manifest: bool, now: u64) {
        self.change(digest, |before| {
            let fresh = || self.attributed(digest, BlobEntry::new(allocated, owner, manifest, now));
            let known = before.unwrap_or_else(fresh);
            Some(BlobEntry { allocated, owner: owner.max(known.owner), manifest: manifest || known.manifest, ..known })
        });
    }

    /// Says whose a blob is.
    pub fn set_owner(&self, digest: &Digest, owner: Owner) {
        self.change(digest, |before| before.map(|known| BlobEntry { owner, ..known }));
    }

    /// Says that a blob is an upstream's, unless it is known to be somebody's.
    pub fn set_mirrored_if_unknown(&self, digest: &Digest, manifest: bool) {
        self.change(digest, |before| {
            let known = before?;
            let owner = if known.owner == Owner::Unknown { Owner::Mirrored } else { known.owner };
            Some(BlobEntry { owner, manifest: known.manifest || manifest, ..known })
        });
    }

    /// Says that a blob is not on disk any more.
    pub fn remove_blob(&self, digest: &Digest) {
        self.change(digest, |_| None);
    }

    /// As [`Index::remove_blob`], for one that went to make room: time passes by that.
    pub fn remove_evicted(&self, digest: &Digest) {
        if let Some(gone) = self.blob_entry(digest).filter(|gone| matches!(gone.tier, Tier::Unreachable | Tier::Blob)) {
            self.queue.clock.fetch_max(gone.rank, Ordering::Relaxed);
        }
        self.remove_blob(digest);
    }

    /// Notes what was asked for since the last time. What cannot be noted yet is not: it is no more than a hint.
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

    /// Puts a blob that cannot go now out of the line, until `until` (seconds since the epoch), or for good.
    pub fn defer(&self, digest: &Digest, until: Option<u64>) {
        let _lock = self.queue.lock.lock();
        if let Some(known) = self.blob_entry(digest) {
            let (tier, rank) = until.map_or((Tier::Pinned, 0), |until| (Tier::Deferred, until));
            self.put(digest, Some(known), Some(BlobEntry { tier, rank, ..known }));
        }
    }

    /// Lets those back into the line whose time has come; those that were pinned too, if `pinned`.
    pub fn requeue(&self, now: u64, pinned: bool) {
        let from = [Tier::Deferred as u8];
        let until =
            if pinned { vec![Tier::Pinned as u8 + 1] } else { place(Tier::Deferred, now.saturating_add(1), &[]) };
        loop {
            let due = self.database.range(|trees| &trees.queue, &from, &until, BATCH).unwrap_or_default();
            for key in &due {
                // Whatever it was about: this place in the line is nobody's any more.
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

    /// Those that would go next after `after`, `limit` places at most, and the last of these places; `None` at the end of the
    /// line.
    #[must_use]
    pub fn next_in_queue(&self, after: Option<&QueuePosition>, limit: usize) -> (Vec<Digest>, Option<QueuePosition>) {
        // A key that is one byte longer is the next one that there can be.
        let from = after.map(|QueuePosition(key)| [key, &[0][..]].concat()).unwrap_or_default();
        let next = self.database.range(|trees| &trees.queue, &from, &[Tier::Deferred as u8], limit).unwrap_or_default();
        let stands = |key: &sled::IVec| {
            let digest = keys::to_digest(key.get(9..)?)?;
            let stands = self
                .blob_entry(&digest)
                .and_then(|known| known.place(&digest))
                .is_some_and(|place| place == key.as_ref());
            if !stands {
                // It went meanwhile, or nobody ever told it to go.
                self.database.remove(|trees| &trees.queue, key);
            }
            stands.then_some(digest)
        };
        let last = next.last().map(|key| QueuePosition(key.to_vec()));
        (next.iter().filter_map(stands).collect(), last)
    }

    /// What is out of the line until its time comes, in the order of that, as far as it is looked at.
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

    /// Every blob that is held, in the order of its digest, after `after`, `limit` at most.
    #[must_use]
    pub fn blobs_after(&self, after: Option<&Digest>, limit: usize) -> Vec<Digest> {
        let after = after.map(keys::digest).unwrap_or_default();
        let found = self.database.keys(|trees| &trees.holdings, &[], &after, limit).unwrap_or_default();
        found.iter().filter_map(|key| keys::to_digest(key)).collect()
    }

    /// The repositories that have a link to a blob, as far as is known.
    #[must_use]
    pub fn holders(&self, digest: &Digest) -> Vec<Repository> {
        let found = self.database.keys(|trees| &trees.holders, &keys::holders(digest), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_repository(key)).collect()
    }

    /// Says that a cached manifest names a blob.
    pub fn add_parent(&self, child: &Digest, parent: &Digest, role: Role) {
        self.database.put(|trees| &trees.parents, &keys::parent(child, parent), &[role as u8]);
        self.change(child, |before| before);
    }

    /// Says that a manifest that named a blob is not cached any more.
    pub fn remove_parent(&self, child: &Digest, parent: &Digest) {
        self.database.remove(|trees| &trees.parents, &keys::parent(child, parent));
        self.change(child, |before| before);
    }

    /// The cached manifests that name a blob.
    #[must_use]
    pub fn parents(&self, child: &Digest) -> Vec<Digest> {
        let found = self.database.keys(|trees| &trees.parents, &keys::parents(child), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_digest(key)).collect()
    }

    /// Makes the line anew from the holdings: a process that was killed may have left the two apart.
    pub fn enqueue_all(&self) {
        self.database.clear(|trees| &trees.queue);
        let mut after = None;
        loop {
            let some = self.blobs_after(after.as_ref(), BATCH);
            for digest in &some {
                let _lock = self.queue.lock.lock();
                if let Some(known) = self.blob_entry(digest) {
                    self.put(digest, None, Some(self.placed(digest, None, known)));
                }
            }
            match some.last() {
                Some(last) => after = Some(*last),
                None => return,
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
        self.board.shift(before.as_ref(), after.as_ref());
        if let Some(on_change) = self.queue.on_change.get() {
            on_change(EntryChange { before, after });
        }
    }

    /// A holding with its place in the line, as its policy says.
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

    /// As a layer, if all of the manifests that name it do so, or the first of very many: a base layer is that to all of them.
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
        let place = |known: Option<BlobEntry>| known.and_then(|known| known.place(digest));
        let (old, new) = (place(before), place(after));
        if old != new {
            old.iter().for_each(|key| self.database.remove(|trees| &trees.queue, key));
            new.iter().for_each(|key| self.database.put(|trees| &trees.queue, key, &[]));
        }
        match after {
            Some(known) => self.database.put(|trees| &trees.holdings, &key, &known.encode()),
            None => self.database.remove(|trees| &trees.holdings, &key),
        }
    }
}
