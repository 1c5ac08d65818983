//! A volume that no server has open: what looks after it works alone then.

use std::{sync::Arc, time::Duration};

use super::verify::RepairHooks;
use crate::{
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    oci::NamePattern,
    registry::{
        Census, Checked, Collected, Collection, Counted, Error, GcEvent, ProgressCallback, Retention, UsageEvent,
        Verification, Verified, store::blob_store::BlobStore,
    },
    storage::Storage,
};

/// A volume, held by this process.
#[derive(Debug)]
pub struct Volume {
    pub(in crate::registry) store: BlobStore,
}

impl Volume {
    /// Takes it. Its index stays as good as it was: it is told of what goes. `pinned` is what the index notes to be so.
    #[must_use]
    pub fn new(storage: Storage, index: Index, pinned: Vec<NamePattern>, metrics: Arc<Metrics>, lanes: Lanes) -> Self {
        if index.was_complete() {
            index.set_complete();
        }
        // Nobody pushes to it, so that nothing is left alone for having been pushed a moment ago.
        let retention = Retention { pinned, ..Retention::default() };
        Self { store: BlobStore::new(storage, index, retention, Duration::ZERO, metrics, lanes) }
    }

    /// As `Registry::collect`, without a grace.
    ///
    /// # Errors
    /// As the disk fails, or when `tell` wants no more.
    pub fn collect(&self, collection: Collection, tell: ProgressCallback<'_, GcEvent>) -> Result<Collected, Error> {
        collection.run(&self.store, tell)
    }

    /// As `Registry::verify`; nothing can be fetched.
    ///
    /// # Errors
    /// As the disk fails, or when `tell` wants no more.
    pub fn verify(&self, verification: &Verification, tell: ProgressCallback<'_, Checked>) -> Result<Verified, Error> {
        verification.run(&self.store, RepairHooks { forget: &|_| {}, restore: &|_, _| false }, tell)
    }

    /// As `Registry::count`, after a look at the disk: another program may have had the volume.
    ///
    /// # Errors
    /// [`Error::NoIndex`]; when `tell` wants no more; or as the disk fails.
    pub fn count(&self, census: &Census, tell: ProgressCallback<'_, UsageEvent>) -> Result<Counted, Error> {
        let _ = tell(UsageEvent::Step { done: 0, of: None, bytes: 0 });
        self.store.open_index()?;
        census.run(&self.store, tell)
    }

    /// Makes the index anew from what is on disk.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        self.store.rebuild_index()
    }

    /// Brings the index to disk; to be done last.
    pub fn close(&self) {
        self.store.index.close(self.store.storage.ledger().totals(), true);
    }
}
