//! Keeps the storage ledger in agreement with the index: each change of a blob entry is passed on to the ledger.

use crate::{
    index::{self, BlobEntry, EntryChange, LedgerTotals, Owner},
    registry::store::blob_store::BlobStore,
    storage::{Change, Delta, Totals},
};

impl BlobStore {
    /// Subscribes the ledger to all changes of blob entries, and initialises it with the totals of an index that is
    /// already open.
    pub(in crate::registry) fn keep_accounts(&self) {
        let ledger = std::sync::Arc::clone(self.storage.ledger());
        self.index.on_change(move |shift| ledger.change(change(&shift)));
        if let Some(totals) = self.index.totals() {
            self.resume_ledger(&totals);
        }
    }

    /// Adds the totals that the index kept since the last clean stop to the ledger.
    pub(in crate::registry) fn resume_ledger(&self, kept: &LedgerTotals) {
        let LedgerTotals { hosted, mirrored, links, mirrored_links, sessions } = *kept;
        let delta = |amount: index::SignedAmount| Delta { bytes: amount.bytes, objects: amount.blobs };
        let blobs = Change { hosted: delta(hosted), mirrored: delta(mirrored) };
        self.storage.ledger().resume(&Totals { blobs, links, mirrored_links, sessions });
    }

    /// Returns the ledger's totals for the index to keep, if everything is counted.
    pub(in crate::registry) fn ledger_totals(&self) -> Option<LedgerTotals> {
        let Totals { blobs, links, mirrored_links, sessions } = self.storage.ledger().totals()?;
        let amount = |delta: Delta| index::SignedAmount { bytes: delta.bytes, blobs: delta.objects };
        let (hosted, mirrored) = (amount(blobs.hosted), amount(blobs.mirrored));
        Some(LedgerTotals { hosted, mirrored, links, mirrored_links, sessions })
    }

    /// Recounts all blobs of the ledger from the index.
    pub(in crate::registry) fn recount(&self) {
        let sum = std::cell::Cell::new(Change::default());
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
