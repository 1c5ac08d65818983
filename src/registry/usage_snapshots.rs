//! The disk usage of all repositories as of a moment ago, for people who browse: a count reads the whole index, and
//! takes seconds with a million blobs.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use super::BlobUsage;
use crate::oci::Repository;

/// A count is repeated only after this many times the time that it took, so that it costs 2 % of a core at most.
const RESTS_PER_COUNT: u32 = 50;
/// The shortest time between two counts.
const MIN_REST: Duration = Duration::from_secs(1);
/// The time after which a count that nobody looks at is dropped.
const IDLE_LIFETIME: Duration = Duration::from_secs(600);

/// The disk usage of all repositories at one moment, by name.
#[derive(Clone, Debug)]
pub struct UsageSnapshot {
    /// The time of the count.
    pub at: SystemTime,
    /// The repositories, hosted ones first.
    pub repositories: Vec<(Repository, BlobUsage)>,
}

/// The latest count.
#[derive(Debug, Default)]
pub(super) struct UsageSnapshots(Mutex<Snapshots>);

#[derive(Debug, Default)]
struct Snapshots {
    latest: Option<Arc<UsageSnapshot>>,
    /// Set while a count is under way.
    is_counting: bool,
    /// The time before which no other count begins.
    next: Option<Instant>,
    /// The time of the last look.
    looked: Option<Instant>,
}

impl UsageSnapshots {
    /// Returns the latest count.
    pub(super) fn latest(&self) -> Option<Arc<UsageSnapshot>> {
        let mut snapshots = self.0.lock();
        snapshots.looked = Some(Instant::now());
        snapshots.latest.clone()
    }

    /// Appoints the caller to count, if a count is due and none is under way.
    pub(super) fn begin(&self) -> bool {
        let mut snapshots = self.0.lock();
        let is_due = !snapshots.is_counting && snapshots.next.is_none_or(|next| next <= Instant::now());
        snapshots.is_counting |= is_due;
        is_due
    }

    /// Ends the count that began at `begun`; `None` if it failed.
    pub(super) fn end(&self, begun: Instant, counted: Option<UsageSnapshot>) {
        let mut snapshots = self.0.lock();
        snapshots.is_counting = false;
        snapshots.next = Some(Instant::now() + MIN_REST.max(begun.elapsed() * RESTS_PER_COUNT));
        if let Some(counted) = counted {
            snapshots.latest = Some(Arc::new(counted));
        }
    }

    /// Drops a count that nobody has looked at for a while.
    pub(super) fn tidy(&self) {
        let mut snapshots = self.0.lock();
        if snapshots.looked.is_some_and(|at| at.elapsed() > IDLE_LIFETIME) {
            snapshots.latest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_count_at_a_time_and_then_a_rest() {
        let snapshots = UsageSnapshots::default();
        assert!(snapshots.latest().is_none() && snapshots.begin() && !snapshots.begin());
        snapshots.end(Instant::now(), Some(UsageSnapshot { at: SystemTime::now(), repositories: Vec::new() }));
        assert!(snapshots.latest().is_some() && !snapshots.begin(), "it rests");
        snapshots.0.lock().next = Some(Instant::now());
        assert!(snapshots.begin());
        snapshots.end(Instant::now(), None);
        assert!(snapshots.latest().is_some(), "a failed count replaces nothing");
        snapshots.0.lock().looked = Instant::now().checked_sub(IDLE_LIFETIME + MIN_REST);
        snapshots.tidy();
        assert!(snapshots.latest().is_none());
    }
}
