//! A volume that no server has open: maintenance commands run on it alone.

use std::{sync::Arc, time::Duration};

use crate::{
    config::RetentionRule,
    index::{Closing, Index},
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    oci::{ImagePatterns, NamePattern},
    registry::{Error, EvictionRules, rebuild::rebuilds::Rebuilds, store::blob_store::BlobStore},
    storage::Storage,
};

/// A volume held by this process.
#[derive(Debug)]
pub struct Volume {
    pub(in crate::registry) store: BlobStore,
    pub(in crate::registry) rebuilds: Rebuilds,
    pub(in crate::registry) rules: Vec<RetentionRule>,
    pub(in crate::registry) immutable: ImagePatterns,
}

impl Volume {
    /// Opens a volume. A complete index stays complete, since it is kept up to date. `pinned` are the patterns of
    /// pinned repositories for the index.
    ///
    /// # Errors
    /// [`Error::Storage`] if the file of pins cannot be read.
    pub fn new(
        io: &Blocking,
        storage: Storage,
        index: Index,
        pinned: Vec<NamePattern>,
        metrics: Arc<Metrics>,
        lanes: Lanes,
    ) -> Result<Self, Error> {
        if index.was_complete() {
            index.set_complete();
        }
        // No client pushes here, so there is no grace period.
        let eviction_rules = EvictionRules { pinned, ..EvictionRules::default() };
        let store = BlobStore::new(storage, index, eviction_rules, Duration::ZERO, metrics, lanes);
        store.with(io).load_pins()?;
        let (rules, immutable) = (Vec::new(), ImagePatterns::default());
        Ok(Self { store, rebuilds: Rebuilds::default(), rules, immutable })
    }

    /// Sets the rules of retention, and the tags that never go.
    #[must_use]
    pub fn with_retention(self, rules: Vec<RetentionRule>, immutable: ImagePatterns) -> Self {
        Self { rules, immutable, ..self }
    }

    /// Flushes the index to the disk; to be called last.
    pub fn close(&self, io: &Blocking) {
        self.rebuilds.saved_uses.save(&self.store.with(io));
        self.store.volume.index.close(Closing::Quiet(self.store.volume.ledger_totals()));
    }
}
