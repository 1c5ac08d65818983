//! The state of space from one eviction to the next.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex as SyncMutex, RwLock, RwLockWriteGuard};
use tokio::sync::{Mutex, OwnedMutexGuard, TryLockError};

use super::{
    access_tracker,
    eviction_log::{Evicted, EvictionLog},
    partial::PartialBlobs,
    recent_events::{RecentEvents, SpaceEvent, SpaceEventKind},
    uncached::Uncached,
};
use crate::{
    metrics::EvictionReason,
    oci::{Digest, NamePattern, Repository},
    registry::{Error, EvictionRules, Refused},
};

/// The result of the last eviction that could not free enough.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Shortage {
    pub(in crate::registry) found: Instant,
    /// Bytes that eviction could free.
    pub(in crate::registry) available: u64,
    /// The time at which the next blob becomes evictable: seconds since the epoch.
    pub(in crate::registry) next_due: Option<u64>,
}

impl Shortage {
    /// Returns whether it is younger than `ttl`, and nothing has become evictable since.
    pub(in crate::registry) fn holds(&self, ttl: Duration) -> bool {
        self.found.elapsed() < ttl && self.next_due.is_none_or(|due| access_tracker::now() < due)
    }
}

/// The right to free space, with the last shortage that eviction could not resolve. One request at a time has it, so
/// that content evicted for one is not counted as evictable for the next.
pub(in crate::registry) type EvictionTurn = OwnedMutexGuard<Option<Shortage>>;

/// Owns what decides about space beside the ledger, which counts it: the rules of eviction and the added pins, the turn
/// to free space, the staged bytes that can be given up, purged blobs that were in use, the logs of content that found
/// no space and of content that was evicted, and the latest of both.
///
/// `space/` and `rebuild/` free space. A fill puts and takes partial blobs; whatever serves content without caching it
/// says so by [`SpaceState::note_uncached`].
#[derive(Debug)]
pub(in crate::registry) struct SpaceState {
    pub(in crate::registry) eviction_rules: EvictionRules,
    pub(in crate::registry) partial_blobs: PartialBlobs,
    pub(in crate::registry) recent_events: RecentEvents,
    pub(in crate::registry) uncached: Uncached,
    pub(in crate::registry) eviction_log: EvictionLog,
    /// Purged blobs that were in use, each with the repository that it was purged from.
    pub(in crate::registry) purged: SyncMutex<HashSet<(Repository, Digest)>>,
    /// The patterns that commands pinned beside those of the configuration.
    added_pins: RwLock<Vec<NamePattern>>,
    turn: Arc<Mutex<Option<Shortage>>>,
}

impl SpaceState {
    pub(super) fn new(eviction_rules: EvictionRules) -> Self {
        Self {
            eviction_rules,
            partial_blobs: PartialBlobs::default(),
            recent_events: RecentEvents::default(),
            uncached: Uncached::default(),
            eviction_log: EvictionLog::default(),
            purged: SyncMutex::default(),
            added_pins: RwLock::default(),
            turn: Arc::default(),
        }
    }

    /// Returns whether the content of a repository is never evicted.
    pub(in crate::registry) fn is_pinned(&self, repository: &Repository) -> bool {
        let is_added = || self.added_pins.read().iter().any(|pattern| pattern.matches_repository(repository));
        self.eviction_rules.is_pinned(repository) || is_added()
    }

    /// Returns all pins: those of the configuration, then those of commands.
    pub(in crate::registry) fn pins(&self) -> Vec<NamePattern> {
        self.eviction_rules.pinned.iter().chain(&*self.added_pins.read()).cloned().collect()
    }

    /// Returns the pins of commands, locked while they change.
    pub(in crate::registry) fn change_pins(&self) -> RwLockWriteGuard<'_, Vec<NamePattern>> {
        self.added_pins.write()
    }

    /// Waits for the turn to free space.
    pub(in crate::registry) async fn turn(&self) -> EvictionTurn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// As [`SpaceState::turn`], but does not wait.
    ///
    /// # Errors
    /// [`TryLockError`] while another request has the turn.
    pub(in crate::registry) fn try_turn(&self) -> Result<EvictionTurn, TryLockError> {
        Arc::clone(&self.turn).try_lock_owned()
    }

    /// Logs and remembers that a blob was evicted.
    pub(in crate::registry) fn note_eviction(&self, evicted: &Evicted<'_>, reason: EvictionReason) {
        self.eviction_log.log(evicted, reason);
        self.recent_events.add(SpaceEvent {
            at: SystemTime::now(),
            kind: SpaceEventKind::Evicted(reason),
            digest: *evicted.digest,
            repository: evicted.repositories.first().cloned(),
            bytes: Some(evicted.allocated),
        });
    }

    /// Logs and remembers that a blob from an upstream is not stored.
    pub(in crate::registry) fn note_uncached(&self, digest: &Digest, repository: &Repository, error: &Error) {
        self.uncached.log(digest, error);
        let bytes = match error {
            Error::InsufficientSpace(short) => Some(short.needed()),
            _ => None,
        };
        self.recent_events.add(SpaceEvent {
            at: SystemTime::now(),
            kind: SpaceEventKind::NotStored(Refused::of(error)),
            digest: *digest,
            repository: Some(repository.clone()),
            bytes,
        });
    }

    /// Drops partial blobs that are too old, and logs the totals of uncached and evicted content that are due.
    pub(in crate::registry) fn tidy(&self) {
        self.partial_blobs.tidy();
        self.uncached.tidy();
        self.eviction_log.tidy();
    }
}
