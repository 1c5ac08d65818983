//! Keeps the storage ledger in agreement with the index: each change of a blob entry is passed on to the ledger.

use crate::{
    index::{self, BlobEntry, EntryChange, LedgerTotals, Link, Owner},
    oci::Digest,
    registry::{
        Error,
        store::{
            access_tracker,
            blob_store::{BlobStore, BlockingStore},
        },
    },
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

impl BlockingStore<'_> {
    /// Walks the disk and corrects the index and the ledger.
    ///
    /// # Errors
    /// [`Error::Storage`] if a part of the disk cannot be read.
    pub(in crate::registry) fn scan(&self) -> Result<(), Error> {
        let drift = self.disk.scan(|prefix_dir| prefix_dir.iter().try_for_each(|digest| self.found(digest)))?;
        self.forget_missing()?;
        tracing::debug!("folders, links and sessions were counted {drift} bytes wrong");
        Ok(())
    }

    /// Indexes a blob found on disk. Its owner is set later, from its links.
    fn found(&self, digest: &Digest) -> Result<(), Error> {
        let _lock = self.locks.digest(digest);
        let Some(stored) = self.disk.blob(digest)? else { return Ok(()) };
        if self.index.blob_entry(digest).is_none_or(|held| held.allocated != stored.allocated) {
            self.index.discovered(digest, stored.allocated, modified(stored.stamp.mtime));
        }
        Ok(())
    }

    /// Removes a blob from the index, together with its links in mirrored repositories: both were removed from the disk
    /// while there was no index. Links that do exist are added again later.
    fn forget_gone(&self, digest: &Digest) {
        for place in self.index.holders(digest).iter().filter(|place| place.domain.is_some()) {
            self.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
        }
        self.index.removed(digest);
    }

    /// Removes blobs from the index that do not exist on disk.
    fn forget_missing(&self) -> Result<(), Error> {
        for digest in self.index.blob_batches().flatten() {
            let _lock = self.locks.digest(&digest);
            if !self.disk.has_blob(&digest)? {
                self.forget_gone(&digest);
            }
        }
        Ok(())
    }
}

/// Returns the time a file was written, in seconds since the epoch, as the best known access time. A time in the future
/// counts as now.
fn modified(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0).min(access_tracker::now())
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
