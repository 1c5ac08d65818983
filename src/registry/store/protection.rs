//! The protection of content against changes at the wrong moment: locks, guards of pushes, and open readers.

use std::{sync::Arc, time::Duration};

use super::{
    access_tracker::{self, AccessTracker},
    gc_guard::{GcGuard, PushGuard},
    locks::{KeyGuard, Locks},
};
use crate::oci::Digest;

/// Owns what a request holds so that nobody removes or changes what it relies on.
///
/// - [`Locks`] order changes of the disk and the index: a change of links, tags or bytes holds the lock of its name or
///   digest from the first look to the last write.
/// - [`GcGuard`] protects what a push or a fill relies on from collection and eviction, also between its requests.
///   Whoever relies on a blob guards it first, and looks for its bytes then.
/// - [`AccessTracker`] knows the open readers, and when each blob was last used.
///
/// A guard comes before a lock, since a guard may wait for a removal that holds the lock. Any part of the registry may
/// take them; only `gc/` and `space/` remove what they protect. Guards and readers outlive requests, so both have an
/// [`Arc`] of their own.
#[derive(Debug)]
pub(in crate::registry) struct Protection {
    pub(in crate::registry) locks: Locks,
    pub(in crate::registry) gc_guard: Arc<GcGuard>,
    pub(in crate::registry) access_tracker: Arc<AccessTracker>,
}

impl Protection {
    /// Creates it for a store that remembers pushes for `memory`.
    pub(super) fn new(memory: Duration) -> Self {
        Self {
            locks: Locks::new(),
            gc_guard: Arc::new(GcGuard::new(memory)),
            access_tracker: Arc::new(AccessTracker::new()),
        }
    }

    /// Guards a blob and locks its digest, for work that publishes or links it. The guard is dropped last.
    pub(in crate::registry) async fn guard_and_lock(&self, digest: &Digest) -> (KeyGuard<Digest>, PushGuard) {
        let guard = self.gc_guard.guard_blob(digest).await;
        (self.locks.wait_for_digest(digest).await, guard)
    }

    /// Returns whether a blob is being read or is under a guard at this moment.
    pub(in crate::registry) fn is_in_use(&self, digest: &Digest) -> bool {
        self.access_tracker.is_read(digest) || self.gc_guard.is_held(digest)
    }

    /// Forgets pushes that are no longer recent, and uses that are older than the lease.
    pub(in crate::registry) fn tidy(&self, lease: Duration) {
        self.gc_guard.tidy();
        self.access_tracker.forget(access_tracker::now().saturating_sub(lease.as_secs()));
    }
}
