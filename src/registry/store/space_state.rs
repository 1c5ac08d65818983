//! The state of space from one eviction to the next.

use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard, TryLockError};

use super::{eviction_log::EvictionLog, partial::PartialBlobs, uncached::Uncached};
use crate::registry::Retention;

/// The result of the last eviction that could not free enough.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Shortage {
    pub(in crate::registry) found: Instant,
    /// Bytes that eviction could free.
    pub(in crate::registry) available: u64,
}

/// Owns what decides about space beside the ledger, which counts it: the rules of eviction, the turn to free space, the
/// staged bytes that can be given up, and the logs of content that found no space and of content that was evicted.
///
/// `space/` and `rebuild/` free space. A fill puts and takes partial blobs; whatever serves content without caching it
/// says so in [`Uncached`].
#[derive(Debug)]
pub(in crate::registry) struct SpaceState {
    pub(in crate::registry) retention: Retention,
    pub(in crate::registry) partial_blobs: PartialBlobs,
    pub(in crate::registry) uncached: Uncached,
    pub(in crate::registry) eviction_log: EvictionLog,
    /// The last shortage that eviction could not resolve. Held while space is freed.
    shortage: Mutex<Option<Shortage>>,
}

impl SpaceState {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            partial_blobs: PartialBlobs::default(),
            uncached: Uncached::default(),
            eviction_log: EvictionLog::default(),
            shortage: Mutex::default(),
        }
    }

    /// Waits for the turn to free space, with the last shortage. One request at a time frees space, so that content
    /// evicted for one is not counted as evictable for the next.
    pub(in crate::registry) async fn turn(&self) -> MutexGuard<'_, Option<Shortage>> {
        self.shortage.lock().await
    }

    /// As [`SpaceState::turn`], but does not wait.
    ///
    /// # Errors
    /// [`TryLockError`] while another request has the turn.
    pub(in crate::registry) fn try_turn(&self) -> Result<MutexGuard<'_, Option<Shortage>>, TryLockError> {
        self.shortage.try_lock()
    }

    /// Drops partial blobs that are too old, and logs the totals of uncached and evicted content that are due.
    pub(in crate::registry) fn tidy(&self) {
        self.partial_blobs.tidy();
        self.uncached.tidy();
        self.eviction_log.tidy();
    }
}
