//! The fills under way, and the rule for sharing them.
//!
//! A fill fetches in the name of the repository that it is begun for. Until the upstream has answered, it is unknown if
//! this repository is authorized for the blob, and if the blob exists. So a new fill is *opening*: only requests of its
//! repository join it. After a positive answer it is *established*, the only fill of the blob (one fetch per digest),
//! and all authorized repositories join it. An opening fill that comes second ends, and its readers join the
//! established one.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{fill_handle::Fill, fill_source::FillSource, passthrough, range_windows};
use crate::{
    oci::{Digest, Repository},
    registry::store::blob_store::BlobStore,
};

/// All fills under way.
#[derive(Debug)]
pub(in crate::registry) struct Fills {
    pub(in crate::registry) store: BlobStore,
    pub(in crate::registry) under_way: Mutex<UnderWay>,
    /// Permits to fetch ranges ahead of fills.
    pub(in crate::registry) ranges: Arc<Semaphore>,
    /// Permits to pass bytes through that the disk does not keep.
    pub(in crate::registry) passing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
pub(in crate::registry) struct UnderWay {
    /// The established fill of each blob.
    pub(in crate::registry) established: HashMap<Digest, Arc<Fill>>,
    /// Fills whose upstream has not answered yet. An authorized request does not join a fill begun without
    /// authorization.
    pub(in crate::registry) opening: HashMap<Opening, Arc<Fill>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Opening {
    digest: Digest,
    repository: Repository,
    proven: bool,
}

impl Opening {
    pub(in crate::registry) fn of(digest: &Digest, source: &FillSource) -> Self {
        Self { digest: *digest, repository: source.repository.clone(), proven: source.right.is_some() }
    }
}

impl Fills {
    pub(in crate::registry) fn new(store: BlobStore) -> Arc<Self> {
        let permits = |number| Arc::new(Semaphore::new(number));
        let (ranges, passing) = (permits(range_windows::MAX_WINDOWS), permits(passthrough::MAX_CONNECTIONS));
        Arc::new(Self { store, under_way: Mutex::default(), ranges, passing })
    }

    /// Returns the number of fills under way.
    pub(in crate::registry) fn under_way(&self) -> usize {
        let under_way = self.under_way.lock();
        under_way.established.len() + under_way.opening.len()
    }

    /// Returns the fills under way.
    pub(in crate::registry) fn list(&self) -> Vec<Arc<Fill>> {
        let under_way = self.under_way.lock();
        under_way.established.values().chain(under_way.opening.values()).map(Arc::clone).collect()
    }

    /// Returns whether `digest` has an established fill.
    pub(in crate::registry) fn is_filling(&self, digest: &Digest) -> bool {
        self.under_way.lock().established.contains_key(digest)
    }

    /// Returns whether `digest` has an established fill for another repository.
    pub(in crate::registry) fn is_filling_elsewhere(&self, digest: &Digest, repository: &Repository) -> bool {
        self.under_way.lock().established.get(digest).is_some_and(|fill| fill.source().repository != *repository)
    }

    /// Establishes an opening fill whose repository is authorized; `false` if the blob has another established fill.
    pub(in crate::registry) fn establish(&self, fill: &Arc<Fill>) -> bool {
        let mut under_way = self.under_way.lock();
        match under_way.established.entry(*fill.digest()) {
            Entry::Occupied(other) => Arc::ptr_eq(other.get(), fill),
            Entry::Vacant(place) => {
                place.insert(Arc::clone(fill));
                under_way.opening.remove(&Opening::of(fill.digest(), fill.source()));
                true
            }
        }
    }

    /// Removes a fill.
    pub(in crate::registry) fn end(&self, fill: &Arc<Fill>) {
        let mut under_way = self.under_way.lock();
        let opening = Opening::of(fill.digest(), fill.source());
        if under_way.opening.get(&opening).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            under_way.opening.remove(&opening);
        }
        if under_way.established.get(fill.digest()).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            under_way.established.remove(fill.digest());
        }
    }
}
