//! The lanes on which a store's blocking work runs, and the end of that work at shutdown.

use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};

use crate::lanes::Lanes;

/// The time that work under way gets to end at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Owns the threads for blocking work, and whether the store is open.
///
/// Work that stores or evicts holds [`Execution::while_open`] from its beginning to its end, so that nothing is stored
/// or evicted after [`Execution::close`] has returned `true`: the totals that the index keeps then are final. The store
/// holds it for all work that it starts; only loops that must end at shutdown ask for it again. [`Execution::lanes`] is
/// for work that touches neither disk nor index: parsing, and the writers of staged files.
#[derive(Debug)]
pub(in crate::registry) struct Execution {
    lanes: Lanes,
    closed: RwLock<bool>,
}

impl Execution {
    pub(super) fn new(lanes: Lanes) -> Self {
        Self { lanes, closed: RwLock::new(false) }
    }

    /// Returns the threads for blocking work.
    pub(in crate::registry) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Returns the guard to hold while something is stored or evicted; `None` once the store is closed.
    pub(in crate::registry) fn while_open(&self) -> Option<RwLockReadGuard<'_, bool>> {
        // Recursive, because nested work may hold it already.
        Some(self.closed.read_recursive()).filter(|closed| !**closed)
    }

    /// Closes the store. Returns `false` if work under way does not end in time; the store stays open then.
    pub(in crate::registry) fn close(&self) -> bool {
        self.closed.try_write_for(SHUTDOWN_GRACE).map(|mut closed| *closed = true).is_some()
    }
}
