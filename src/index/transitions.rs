//! The life of a blob in the index: one function for each event, each a single write of the blob's record, all under
//! the queue's lock. (`past_uses.rs` restores uses, `upstream_totals.rs` the upstream of a blob.) A record is an
//! *entry* (size, owner, uses, queue position), *origins* (where the bytes are from: pushed here durably, fetched from
//! an upstream, or both) and a *stamp* (the state of its file at the last verification).
//!
//! | event | entry | origins | stamp |
//! |---|---|---|---|
//! | [`published`](Index::published) | absent → mirrored, hosted | set | set |
//! | [`discovered`](Index::discovered) on disk | absent → unknown | | |
//! | [`linked`](Index::linked) by a mirrored repository | unknown → mirrored | mirrored | |
//! | [`linked`](Index::linked) by a hosted repository, [`kept_for_push`](Index::kept_for_push) | → hosted | | |
//! | [`promoted`](Index::promoted) | → hosted | + hosted | |
//! | [`restored`](Index::restored) | → hosted | = hosted, mirrored | |
//! | [`demoted`](Index::demoted) | → mirrored | mirrored only, if hosted | |
//! | [`verified`](Index::verified), [`unverified`](Index::unverified) | | | set, cleared |
//! | [`used`](Index::used) | last use, count | | |
//! | [`removing`](Index::removing) its file | | cleared | cleared |
//! | [`removed`](Index::removed), [`evicted`](Index::evicted) | → absent | cleared | cleared |
//!
//! A record is one key, so a change is atomic. The new queue position is written before the record and the old one
//! removed after it, so a crash leaves at most a stale position, which is removed when it is read. (A sled transaction
//! over both trees would take 50 % more CPU, a batch in one tree 33 % more.)

use std::sync::atomic::Ordering;

use super::{
    BlobEntry, BlobKind, EntryChange, Index, Link, Origins, Owner, Tier, Uses, VerifiedStamp,
    blob_record::{BlobRecord, EpochStamp},
    keys,
};
use crate::oci::{Digest, Repository};

/// A file that has just been published, and whose bytes are verified.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The file's state.
    pub stamp: VerifiedStamp,
    /// The bytes that it occupies.
    pub allocated: u64,
    /// The origin of its bytes. They are evictable unless hosted.
    pub origins: Origins,
    /// The kind of content.
    pub kind: BlobKind,
    /// The time of its arrival, in seconds since the epoch.
    pub now: u64,
}

impl Index {
    /// Records that a blob was published. A known owner is never replaced by a less certain one.
    pub fn published(&self, digest: &Digest, arrival: &Arrival) {
        let Arrival { stamp, allocated, origins, kind, now } = *arrival;
        let owner = if origins.hosted { Owner::Hosted } else { Owner::Mirrored };
        self.change(digest, |before| {
            let fresh = || self.attributed(digest, BlobEntry::new(allocated, owner, kind, now));
            let known = before.entry.unwrap_or_else(fresh);
            let entry = BlobEntry { allocated, owner: owner.max(known.owner), kind: kind.max(known.kind), ..known };
            BlobRecord { stamp: Some(self.in_epoch(stamp)), origins, entry: Some(entry) }
        });
    }

    /// Records that a blob was found on disk, where it occupies `allocated` bytes. Its owner is not known unless it was
    /// before. `used` is the best known time of its last use.
    pub fn discovered(&self, digest: &Digest, allocated: u64, used: u64) {
        self.change(digest, |before| {
            let fresh = || self.attributed(digest, BlobEntry::new(allocated, Owner::Unknown, BlobKind::Blob, used));
            BlobRecord { entry: Some(BlobEntry { allocated, ..before.entry.unwrap_or_else(fresh) }), ..before }
        });
    }

    /// Records that a repository links a blob, by a layer or a revision link on disk.
    pub fn linked(&self, repository: &Repository, digest: &Digest, link: Link) {
        self.put_link(repository, digest, link);
        let mirrored = repository.domain.is_some();
        let kind = if link.revision { BlobKind::Manifest } else { BlobKind::Blob };
        self.change(digest, |before| {
            let entry = before.entry.map(|known| {
                let owner = if mirrored { known.owner.max(Owner::Mirrored) } else { Owner::Hosted };
                self.attributed_to(repository, BlobEntry { owner, kind: kind.max(known.kind), ..known })
            });
            let origins = Origins { mirrored: before.origins.mirrored || mirrored, ..before.origins };
            BlobRecord { origins, entry, ..before }
        });
    }

    /// Records that a hosted repository links a blob, or is about to: it is not evicted from here on.
    pub fn kept_for_push(&self, digest: &Digest) {
        self.change(digest, |before| owned(before, Owner::Hosted));
    }

    /// Records that a blob's bytes are durable, for a hosted repository.
    pub fn promoted(&self, digest: &Digest) {
        self.change(digest, |before| {
            let origins = Origins { hosted: true, ..before.origins };
            owned(BlobRecord { origins, ..before }, Owner::Hosted)
        });
    }

    /// As [`Index::promoted`], for bytes that an upstream has too.
    pub fn restored(&self, digest: &Digest) {
        self.change(digest, |before| {
            let origins = Origins { hosted: true, mirrored: true };
            owned(BlobRecord { origins, ..before }, Owner::Hosted)
        });
    }

    /// Records that no hosted repository links a blob any more and a mirrored one does: it is evictable from here on.
    pub fn demoted(&self, digest: &Digest) {
        self.change(digest, |before| {
            let origins =
                if before.origins.hosted { Origins { hosted: false, mirrored: true } } else { before.origins };
            owned(BlobRecord { origins, ..before }, Owner::Mirrored)
        });
    }

    /// Records the state of a blob's file after its bytes were hashed.
    pub fn verified(&self, digest: &Digest, stamp: VerifiedStamp) {
        self.annotate(digest, |before| BlobRecord { stamp: Some(self.in_epoch(stamp)), ..before });
    }

    /// Forgets the state of a blob's file, so that it is hashed before it is served.
    pub fn unverified(&self, digest: &Digest) {
        self.annotate(digest, |before| BlobRecord { stamp: None, ..before });
    }

    /// Adds uses. Those of blobs without an entry are dropped: they only improve the eviction order.
    pub fn used(&self, uses: impl IntoIterator<Item = (Digest, Uses)>) {
        if self.database.is_unopened() {
            return;
        }
        for (digest, noted) in uses {
            self.change(&digest, |before| {
                let used = |known: BlobEntry| BlobEntry {
                    used: known.used.max(noted.last),
                    uses: known.uses.saturating_add(noted.count),
                    ..known
                };
                BlobRecord { entry: before.entry.map(used), ..before }
            });
        }
    }

    /// Records that a blob's file is about to be removed. It still counts until [`Index::removed`].
    pub fn removing(&self, digest: &Digest) {
        self.annotate(digest, |before| BlobRecord { entry: before.entry, ..BlobRecord::default() });
    }

    /// Records that a blob is no longer on disk.
    pub fn removed(&self, digest: &Digest) {
        self.change(digest, |_| BlobRecord::default());
    }

    /// As [`Index::removed`], for an evicted blob: advances the queue's clock to its rank.
    pub fn evicted(&self, digest: &Digest) {
        if let Some(gone) = self.blob_entry(digest).filter(|gone| matches!(gone.tier, Tier::Unreachable | Tier::Blob)) {
            self.queue.clock.fetch_max(gone.rank, Ordering::Relaxed);
        }
        self.removed(digest);
    }

    /// Changes a record; a changed entry gets the tier and rank that the eviction policy gives it. While the database
    /// is not open the change is lost, and the index counts as incomplete when it is opened.
    pub(super) fn change(&self, digest: &Digest, change: impl FnOnce(BlobRecord) -> BlobRecord) {
        let _lock = self.queue.lock.lock();
        if self.database.is_unopened() {
            self.queue.missed.store(true, Ordering::Relaxed);
        }
        self.update(digest, |before| {
            let after = change(before);
            let placed =
                |entry| if before.entry == Some(entry) { entry } else { self.placed(digest, before.entry, entry) };
            BlobRecord { entry: after.entry.map(placed), ..after }
        });
    }

    /// Gives a blob the position in the queue that the eviction policy gives it now.
    pub(super) fn reposition(&self, digest: &Digest) {
        let _lock = self.queue.lock.lock();
        self.update(digest, |before| BlobRecord {
            entry: before.entry.map(|entry| self.placed(digest, before.entry, entry)),
            ..before
        });
    }

    /// As [`Index::change`], for a record whose entry stays as it is. It may be lost: then the file is hashed again.
    fn annotate(&self, digest: &Digest, change: impl FnOnce(BlobRecord) -> BlobRecord) {
        let _lock = self.queue.lock.lock();
        self.update(digest, change);
    }

    /// Writes a record, updates the totals and calls `on_change`. The caller holds the queue's lock.
    pub(super) fn update(&self, digest: &Digest, change: impl FnOnce(BlobRecord) -> BlobRecord) {
        let before = self.record(digest);
        let after = change(before);
        if before == after {
            return;
        }
        self.write(digest, &before, &after);
        if before.entry != after.entry {
            self.upstream_totals.shift(before.entry.as_ref(), after.entry.as_ref());
            if let Some(on_change) = self.queue.on_change.get() {
                on_change(EntryChange { before: before.entry, after: after.entry });
            }
        }
    }

    /// Writes a changed record and its position in the queue. The caller holds the queue's lock.
    pub(super) fn write(&self, digest: &Digest, before: &BlobRecord, after: &BlobRecord) {
        let key = keys::digest(digest);
        let position = |record: &BlobRecord| record.entry.and_then(|entry| entry.queue_key(digest));
        let (old, new) = (position(before), position(after));
        if old != new {
            new.iter().for_each(|position| self.database.put(|trees| &trees.queue, position, &[]));
        }
        match after.encode() {
            Some(value) => self.database.put(|trees| &trees.blobs, &key, &value),
            None => self.database.remove(|trees| &trees.blobs, &key),
        }
        if old != new {
            old.iter().for_each(|position| self.database.remove(|trees| &trees.queue, position));
        }
    }

    fn in_epoch(&self, stamp: VerifiedStamp) -> EpochStamp {
        EpochStamp { stamp, epoch: self.epoch.load(Ordering::Acquire) }
    }
}

fn owned(before: BlobRecord, owner: Owner) -> BlobRecord {
    BlobRecord { entry: before.entry.map(|known| BlobEntry { owner, ..known }), ..before }
}
