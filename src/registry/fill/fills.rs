//! The fills under way, and who follows which.
//!
//! A fill fetches under the name of the repository that it is begun for. Until the upstream has answered nothing shows
//! that this repository has a right to the blob, or that there is one: so it *opens* for its repository alone, and
//! nobody else waits for it. Once the upstream said yes it is the blob's fill, the only one (law 5), for all
//! repositories whose right is shown. One that comes later gives way to it, and its readers follow the other.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{fill_handle::Fill, origin::Origin, passthrough, range_windows};
use crate::{
    oci::{Digest, Repository},
    registry::store::blob_store::BlobStore,
};

/// All fills under way.
#[derive(Debug)]
pub(in crate::registry) struct Fills {
    pub(in crate::registry) store: BlobStore,
    pub(in crate::registry) under_way: Mutex<UnderWay>,
    /// Turns to fetch ahead of fills.
    pub(in crate::registry) ranges: Arc<Semaphore>,
    /// Turns to pass bytes on that the disk does not take.
    pub(in crate::registry) passing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
pub(in crate::registry) struct UnderWay {
    /// The fill of each blob.
    pub(in crate::registry) established: HashMap<Digest, Arc<Fill>>,
    /// Those whose upstream has not answered yet. A request whose right is shown does not wait for one whose is not.
    pub(in crate::registry) opening: HashMap<Opening, Arc<Fill>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Opening {
    digest: Digest,
    repository: Repository,
    proven: bool,
}

impl Opening {
    pub(in crate::registry) fn of(digest: &Digest, origin: &Origin) -> Self {
        Self { digest: *digest, repository: origin.repository.clone(), proven: origin.right.is_some() }
    }
}

impl Fills {
    pub(in crate::registry) fn new(store: BlobStore) -> Arc<Self> {
        let turns = |number| Arc::new(Semaphore::new(number));
        let (ranges, passing) = (turns(range_windows::IN_ALL), turns(passthrough::IN_ALL));
        Arc::new(Self { store, under_way: Mutex::default(), ranges, passing })
    }

    /// How many blobs are being filled now.
    pub(in crate::registry) fn under_way(&self) -> usize {
        let under_way = self.under_way.lock();
        under_way.established.len() + under_way.opening.len()
    }

    /// Whether `digest` is being filled now.
    pub(in crate::registry) fn is_filling(&self, digest: &Digest) -> bool {
        self.under_way.lock().established.contains_key(digest)
    }

    /// Whether `digest` is being filled now, for another repository than this one.
    pub(in crate::registry) fn is_filling_elsewhere(&self, digest: &Digest, repository: &Repository) -> bool {
        self.under_way.lock().established.get(digest).is_some_and(|fill| fill.origin().repository != *repository)
    }

    /// Makes an opening fill the blob's: its repository's right is shown. `false` when another one is.
    pub(in crate::registry) fn establish(&self, fill: &Arc<Fill>) -> bool {
        let mut under_way = self.under_way.lock();
        match under_way.established.entry(*fill.digest()) {
            Entry::Occupied(other) => Arc::ptr_eq(other.get(), fill),
            Entry::Vacant(place) => {
                place.insert(Arc::clone(fill));
                under_way.opening.remove(&Opening::of(fill.digest(), fill.origin()));
                true
            }
        }
    }

    /// Frees a fill's place.
    pub(in crate::registry) fn end(&self, fill: &Arc<Fill>) {
        let mut under_way = self.under_way.lock();
        let opening = Opening::of(fill.digest(), fill.origin());
        if under_way.opening.get(&opening).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            under_way.opening.remove(&opening);
        }
        if under_way.established.get(fill.digest()).is_some_and(|other| Arc::ptr_eq(other, fill)) {
            under_way.established.remove(fill.digest());
        }
    }
}
