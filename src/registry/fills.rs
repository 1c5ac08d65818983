//! The fills under way, and who follows which.
//!
//! A fill fetches under the name of the repository that it is begun for. Until the upstream has answered nothing shows that
//! this repository has a right to the blob, or that there is one: so it *opens* for its repository alone, and nobody else
//! waits for it. Once the upstream said yes it is the blob's fill, the only one (law 5), for all repositories whose right is
//! shown. One that comes later gives way to it, and its readers follow the other.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    blob_store::BlobStore,
    fill::Fill,
    fill_job::Job,
    origin::Origin,
    passthrough,
    range_fetch::{self, RangeFetches},
};
use crate::oci::{Digest, Repository};

/// All fills under way.
#[derive(Debug)]
pub(super) struct Fills {
    pub(super) store: BlobStore,
    under_way: Mutex<UnderWay>,
    /// Turns to fetch ahead of fills.
    ranges: Arc<Semaphore>,
    /// Turns to pass bytes on that the disk does not take.
    passing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// The fill of each blob.
    established: HashMap<Digest, Arc<Fill>>,
    /// Those whose upstream has not answered yet. A request whose right is shown does not wait for one whose is not.
    opening: HashMap<Opening, Arc<Fill>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Opening {
    digest: Digest,
    repository: Repository,
    proven: bool,
}

impl Opening {
    fn of(digest: &Digest, origin: &Origin) -> Self {
        Self { digest: *digest, repository: origin.repository.clone(), proven: origin.right.is_some() }
    }
}

impl Fills {
    pub(super) fn new(store: BlobStore) -> Arc<Self> {
        let turns = |number| Arc::new(Semaphore::new(number));
        let (ranges, passing) = (turns(range_fetch::IN_ALL), turns(passthrough::IN_ALL));
        Arc::new(Self { store, under_way: Mutex::default(), ranges, passing })
    }

    /// How many blobs are being filled now.
    pub(super) fn under_way(&self) -> usize {
        let under_way = self.under_way.lock();
        under_way.established.len() + under_way.opening.len()
    }

    /// Whether `digest` is being filled now.
    pub(super) fn is_filling(&self, digest: &Digest) -> bool {
        self.under_way.lock().established.contains_key(digest)
    }

    /// Whether `digest` is being filled now, for another repository than this one.
    pub(super) fn is_filling_elsewhere(&self, digest: &Digest, repository: &Repository) -> bool {
        self.under_way.lock().established.get(digest).is_some_and(|fill| fill.origin().repository != *repository)
    }

    /// The fill of `digest` that a request may follow, begun now if there is none; the flag says that there was one.
    pub(super) fn join_or_start(self: &Arc<Self>, digest: &Digest, origin: Origin) -> (Arc<Fill>, bool) {
        let mut under_way = self.under_way.lock();
        let established = under_way.established.get(digest);
        if let Some(fill) = established.filter(|fill| fill.is_for(&origin.repository, origin.right)) {
            return (Arc::clone(fill), true);
        }
        let opening = Opening::of(digest, &origin);
        if let Some(fill) = under_way.opening.get(&opening) {
            return (Arc::clone(fill), true);
        }
        let pool = origin.mirror.pool.clone();
        let ranges = RangeFetches::new(self.store.clone(), Arc::clone(&self.ranges));
        let (passing, reading) = (Arc::clone(&self.passing), self.store.access_tracker.read(digest));
        let fill = Arc::new(Fill::new(digest, origin, ranges, passing, reading));
        under_way.opening.insert(opening, Arc::clone(&fill));
        drop(under_way);
        let job = Job { fill: Arc::clone(&fill), fills: Arc::clone(self) };
        // Where no thread can be had, the job is dropped, which fails the fill.
        let _ = pool.spawn(move |client| job.run(client));
        (fill, false)
    }

    /// Makes an opening fill the blob's: its repository's right is shown. `false` when another one is.
    pub(super) fn establish(&self, fill: &Arc<Fill>) -> bool {
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
    pub(super) fn end(&self, fill: &Arc<Fill>) {
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
