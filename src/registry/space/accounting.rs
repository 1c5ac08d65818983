//! The ledger and the index agree: what a holding changes by, the ledger is told; what the ledger knew, it knows again.

use crate::{
    index::{BlobEntry, EntryChange, Link, Owner},
    oci::Digest,
    registry::{
        Error,
        store::{access_tracker, blob_store::BlobStore},
    },
    storage::Change,
};

impl BlobStore {
    /// From the first moment on, the ledger hears of every holding that changes; where the index is open, it takes over what
    /// that knew.
    pub(in crate::registry) fn keep_accounts(&self) {
        let ledger = std::sync::Arc::clone(self.storage.ledger());
        self.index.on_change(move |shift| ledger.change(change(&shift)));
        if let Some(totals) = self.index.totals() {
            self.storage.ledger().resume(&totals);
        }
    }

    /// Counts all data files anew, by what the index says.
    pub(in crate::registry) fn recount(&self) {
        let sum = std::cell::Cell::new(Change::default());
        let each = |held: &BlobEntry| {
            let mut more = sum.get();
            add(&mut more, held, 1);
            sum.set(more);
        };
        self.index.count(each, || self.storage.ledger().recount(sum.get()));
    }

    /// Looks at all that is on disk and puts index and ledger right.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(in crate::registry) fn scan(&self) -> Result<(), Error> {
        let drift = self.storage.scan(|shelf| shelf.iter().try_for_each(|digest| self.found(digest)))?;
        self.forget_missing()?;
        tracing::debug!("folders, links and sessions were counted {drift} bytes wrong");
        Ok(())
    }

    /// A blob that is on disk. Whose it is, its links will tell.
    fn found(&self, digest: &Digest) -> Result<(), Error> {
        let _claim = self.locks.digest(digest);
        let Some(stored) = self.storage.blob(digest)? else { return Ok(()) };
        if self.index.blob_entry(digest).is_none_or(|held| held.allocated != stored.allocated) {
            self.index.insert_blob(digest, stored.allocated, Owner::Unknown, false, modified(stored.facts.mtime));
        }
        Ok(())
    }

    /// A blob that went while there was no index, as its links in mirrored repositories did. Links on disk are told after this.
    fn forget_gone(&self, digest: &Digest) {
        self.index.remove_object(digest);
        for place in self.index.holders(digest).iter().filter(|place| place.domain.is_some()) {
            self.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
        }
        self.index.remove_blob(digest);
    }

    /// Blobs that the index remembers and the disk does not have.
    fn forget_missing(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let some = self.index.blobs_after(after.as_ref(), 1000);
            for digest in &some {
                let _claim = self.locks.digest(digest);
                if !self.storage.has_blob(digest)? {
                    self.forget_gone(digest);
                }
            }
            match some.last() {
                Some(last) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }
}

/// When a file was written, in seconds since the epoch: a use of it, as far as anybody knows. A time in the future counts as
/// now.
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
    account.0 += sign * i64::try_from(held.allocated).unwrap_or(i64::MAX);
    account.1 += sign;
}
