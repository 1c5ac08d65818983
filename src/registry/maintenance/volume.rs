//! A volume that no server has open: maintenance commands run on it alone.

use std::{sync::Arc, time::Duration};

use super::verify::RepairHooks;
use crate::{
    index::Index,
    lanes::Lanes,
    metrics::Metrics,
    oci::NamePattern,
    registry::{
        Checked, Collected, Collection, Counted, Error, GcEvent, ProgressCallback, Retention, UsageCount, UsageEvent,
        Verification, Verified, store::blob_store::BlobStore,
    },
    storage::Storage,
};

/// A volume held by this process.
#[derive(Debug)]
pub struct Volume {
    pub(in crate::registry) store: BlobStore,
}

impl Volume {
    /// Opens a volume. A complete index stays complete, since it is kept up to date. `pinned` are the patterns of
    /// pinned repositories for the index.
    #[must_use]
    pub fn new(storage: Storage, index: Index, pinned: Vec<NamePattern>, metrics: Arc<Metrics>, lanes: Lanes) -> Self {
        if index.was_complete() {
            index.set_complete();
        }
        // No client pushes here, so there is no grace period.
        let retention = Retention { pinned, ..Retention::default() };
        Self { store: BlobStore::new(storage, index, retention, Duration::ZERO, metrics, lanes) }
    }

    /// As `Registry::collect`, without a grace period.
    ///
    /// # Errors
    /// As `Registry::collect`.
    pub fn collect(&self, collection: Collection, on_event: ProgressCallback<'_, GcEvent>) -> Result<Collected, Error> {
        collection.run(&self.store, on_event)
    }

    /// As `Registry::verify`, without upstreams to restore from.
    ///
    /// # Errors
    /// As `Registry::verify`.
    pub fn verify(
        &self,
        verification: &Verification,
        on_event: ProgressCallback<'_, Checked>,
    ) -> Result<Verified, Error> {
        verification.run(&self.store, RepairHooks { forget: &|_| {}, restore: &|_, _| false }, on_event)
    }

    /// As `Registry::count`, after a scan of the disk, since another program may have used the volume.
    ///
    /// # Errors
    /// [`Error::NoIndex`], [`Error::Cancelled`] if `on_event` cancels it, [`Error::Storage`] if the disk fails.
    pub fn count(&self, count: &UsageCount, on_event: ProgressCallback<'_, UsageEvent>) -> Result<Counted, Error> {
        let _ = on_event(UsageEvent::Step { done: 0, of: None, bytes: 0 });
        self.store.open_index()?;
        count.run(&self.store, on_event)
    }

    /// Rebuilds the index from the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if a part of the disk cannot be read.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        self.store.rebuild_index()
    }

    /// Flushes the index to the disk; to be called last.
    pub fn close(&self) {
        self.store.index.close(self.store.storage.ledger().totals(), true);
    }
}
