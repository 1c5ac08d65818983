//! The volume with its index: the bytes on disk, what is recorded of them, and their accounts in the ledger.

use std::{cell::Cell, sync::Arc};

use super::{access_tracker, hashing::stamp};
use crate::{
    index::{Arrival, BlobEntry, BlobKind, EntryChange, Index, LedgerTotals, Origins, Owner, SignedAmount},
    lanes::Blocking,
    metrics::Metrics,
    oci::{Digest, NamePattern, Repository},
    storage::{Change, Delta, Disk, Ledger, Storage, Stored, Totals},
};

/// Owns the data directory, the index that is derived from it, and the metrics that count what happens to both.
///
/// It keeps the ledger in agreement with the index: each change of a blob entry is passed on to the ledger, under the
/// same lock. Its methods record in the index what was done on disk; they do not touch the disk themselves, and hold no
/// lock: the caller holds the lock under which the disk changed. The disk itself is reached through a
/// [`BlockingStore`](super::blob_store::BlockingStore) only.
#[derive(Debug)]
pub(in crate::registry) struct IndexedVolume {
    storage: Storage,
    pub(in crate::registry) index: Index,
    pub(in crate::registry) metrics: Arc<Metrics>,
}

impl IndexedVolume {
    /// Creates it. `pinned` are the patterns of pinned repositories, for the index.
    pub(super) fn new(storage: Storage, index: Index, pinned: Vec<NamePattern>, metrics: Arc<Metrics>) -> Self {
        index.set_pins(pinned);
        let volume = Self { storage, index, metrics };
        volume.keep_accounts();
        volume
    }

    /// Returns the disk, for a thread that may block.
    pub(super) fn disk<'a>(&'a self, io: &'a Blocking) -> Disk<'a> {
        self.storage.disk(io)
    }

    /// Returns the space accounting.
    pub(in crate::registry) fn ledger(&self) -> &Ledger {
        self.storage.ledger()
    }

    /// Returns whether the index can be trusted for a repository. Only this process writes mirrored repositories.
    pub(in crate::registry) fn trusts_index(&self, repository: &Repository) -> bool {
        repository.domain.is_some() || self.index.is_complete()
    }

    /// Records a file that has just been published and verified. The caller drops its reservation afterwards.
    pub(in crate::registry) fn record_published(
        &self,
        digest: &Digest,
        stored: &Stored,
        origins: Origins,
        kind: BlobKind,
    ) {
        let (stamp, now) = (stamp(&stored.stamp), access_tracker::now());
        self.index.published(digest, &Arrival { stamp, allocated: stored.allocated, origins, kind, now });
    }

    /// Subscribes the ledger to all changes of blob entries, and initialises it with the totals of an index that is
    /// already open.
    fn keep_accounts(&self) {
        let ledger = Arc::clone(self.storage.ledger());
        self.index.on_change(move |shift| ledger.change(change(&shift)));
        if let Some(totals) = self.index.totals() {
            self.restore_ledger(&totals);
        }
    }

    /// Adds the totals that the index kept since the last clean stop to the ledger.
    pub(in crate::registry) fn restore_ledger(&self, kept: &LedgerTotals) {
        let LedgerTotals { hosted, mirrored, links, mirrored_links, sessions } = *kept;
        let delta = |amount: SignedAmount| Delta { bytes: amount.bytes, objects: amount.blobs };
        let blobs = Change { hosted: delta(hosted), mirrored: delta(mirrored) };
        self.storage.ledger().restore_totals(&Totals { blobs, links, mirrored_links, sessions });
    }

    /// Returns the ledger's totals for the index to keep, if everything is counted.
    pub(in crate::registry) fn ledger_totals(&self) -> Option<LedgerTotals> {
        let Totals { blobs, links, mirrored_links, sessions } = self.storage.ledger().totals()?;
        let amount = |delta: Delta| SignedAmount { bytes: delta.bytes, blobs: delta.objects };
        let (hosted, mirrored) = (amount(blobs.hosted), amount(blobs.mirrored));
        Some(LedgerTotals { hosted, mirrored, links, mirrored_links, sessions })
    }

    /// Recounts all blobs of the ledger from the index.
    pub(in crate::registry) fn recount(&self) {
        let sum = Cell::new(Change::default());
        let each = |held: &BlobEntry| {
            let mut more = sum.get();
            add(&mut more, held, 1);
            sum.set(more);
        };
        self.index.count(each, || self.storage.ledger().recount(sum.get()));
    }
}

fn change(shift: &EntryChange) -> Change {
    let mut change = Change::default();
    shift.before.iter().for_each(|held| add(&mut change, held, -1));
    shift.after.iter().for_each(|held| add(&mut change, held, 1));
    change
}

fn add(change: &mut Change, held: &BlobEntry, sign: i64) {
    let account = if held.owner == Owner::Mirrored { &mut change.mirrored } else { &mut change.hosted };
    account.bytes += sign * i64::try_from(held.allocated).unwrap_or(i64::MAX);
    account.objects += sign;
}
