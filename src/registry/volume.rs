//! A volume that no server has open: what looks after it works alone then.

use std::{sync::Arc, time::Duration};

use super::{
    Checked, Collected, Collection, Error, Found, Retention, Tell, Verification, Verified, objects::Objects,
    verify::Around,
};
use crate::{index::Index, metrics::Metrics, storage::Storage};

/// A volume, held by this process.
#[derive(Debug)]
pub struct Volume {
    objects: Objects,
}

impl Volume {
    /// Takes it. Its index stays as good as it was: it is told of what goes.
    #[must_use]
    pub fn new(storage: Storage, index: Index, metrics: Arc<Metrics>) -> Self {
        if index.was_complete() {
            index.set_complete();
        }
        // Nobody pushes to it, so that nothing is left alone for having been pushed a moment ago.
        Self { objects: Objects::new(storage, index, Retention::default(), Duration::ZERO, metrics) }
    }

    /// As `Registry::collect`, without a grace.
    ///
    /// # Errors
    /// As the disk fails, or when `tell` wants no more.
    pub fn collect(&self, collection: Collection, tell: Tell<'_, Found>) -> Result<Collected, Error> {
        collection.run(&self.objects, tell)
    }

    /// As `Registry::verify`; nothing can be fetched.
    ///
    /// # Errors
    /// As the disk fails, or when `tell` wants no more.
    pub fn verify(&self, verification: &Verification, tell: Tell<'_, Checked>) -> Result<Verified, Error> {
        verification.run(&self.objects, Around { forget: &|_| {}, restore: &|_, _| false }, tell)
    }

    /// Makes the index anew from what is on disk.
    pub fn rebuild_index(&self) {
        self.objects.renew_index();
    }

    /// Brings the index to disk; to be done last.
    pub fn close(&self) {
        self.objects.index.close(self.objects.storage.ledger().totals());
    }
}
