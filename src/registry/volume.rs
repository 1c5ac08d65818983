//! A volume that no server has open: what looks after it works alone then.

use std::time::Duration;

use super::{Collected, Collection, Error, Found, Retention, Tell, objects::Objects};
use crate::{index::Index, storage::Storage};

/// A volume, held by this process.
#[derive(Debug)]
pub struct Volume {
    objects: Objects,
}

impl Volume {
    /// Takes it. Its index stays as good as it was: it is told of what goes.
    #[must_use]
    pub fn new(storage: Storage, index: Index) -> Self {
        if index.was_complete() {
            index.set_complete();
        }
        // Nobody pushes to it, so that nothing is left alone for having been pushed a moment ago.
        Self { objects: Objects::new(storage, index, Retention::default(), Duration::ZERO) }
    }

    /// As `Registry::collect`, without a grace.
    ///
    /// # Errors
    /// As the disk fails, or when `tell` wants no more.
    pub fn collect(&self, collection: Collection, tell: Tell<'_, Found>) -> Result<Collected, Error> {
        collection.run(&self.objects, tell)
    }

    /// Brings the index to disk; to be done last.
    pub fn close(&self) {
        self.objects.index.close(self.objects.storage.ledger().totals());
    }
}
