//! The pulls of hosted tags and manifests that are to be noted on the disk, in memory and bounded: each at most once a
//! day. `noted_pulls.rs` writes the notes.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, SystemTime},
};

use moka::{policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;

use crate::oci::{Reference, Repository};

/// The shortest time between two notes of a tag or manifest: its last pull may be that much later than its note.
pub(in crate::registry) const NOTE_INTERVAL: Duration = Duration::from_hours(24);
/// The tags and manifests whose notes are remembered. For any other the note on the disk is looked at.
const MAX_REMEMBERED: u64 = 100_000;
/// The most notes that wait for the disk.
const MAX_WAITING: usize = 100_000;

/// The pulls that are noted, and those that are to be.
#[derive(Debug)]
pub(in crate::registry) struct PullNotes {
    /// The time from which on the next pull is noted, by a hash of repository and reference.
    pub(super) due: Cache<u64, SystemTime>,
    hasher: RandomState,
    waiting: Mutex<Waiting>,
    pub(super) record: Mutex<RecordState>,
}

#[derive(Debug, Default)]
struct Waiting {
    pulls: VecDeque<(Repository, Reference)>,
    /// True while a thread writes them.
    writing: bool,
}

/// The state of the record of pulls (`storage/pull_record.rs`).
#[derive(Debug, Default)]
pub(super) struct RecordState {
    /// The begin of the time in which every pull was noted; `None` before the record was read.
    pub(super) since: Option<SystemTime>,
    pub(super) saved: Option<SystemTime>,
}

impl PullNotes {
    pub(super) fn new() -> Self {
        let due = Cache::builder().max_capacity(MAX_REMEMBERED).eviction_policy(EvictionPolicy::lru()).build();
        Self { due, hasher: RandomState::new(), waiting: Mutex::default(), record: Mutex::default() }
    }

    pub(super) fn key(&self, repository: &Repository, pulled: &Reference) -> u64 {
        self.hasher.hash_one((&repository.name, pulled))
    }

    /// Returns whether a pull is to be noted now; then the next one is not.
    pub(super) fn is_due(&self, key: u64, now: SystemTime) -> bool {
        // A clock that is set back must not defer notes for long.
        let is_later =
            |due: SystemTime| due.duration_since(now).is_ok_and(|rest| !rest.is_zero() && rest <= NOTE_INTERVAL);
        let is_noted = self.due.get(&key).is_some_and(is_later);
        if !is_noted {
            self.due.insert(key, now + NOTE_INTERVAL);
        }
        !is_noted
    }

    /// Queues a note. Returns whether a thread is to be started that writes it.
    pub(super) fn queue(&self, pull: (Repository, Reference)) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.pulls.len() >= MAX_WAITING {
            drop(waiting);
            self.lost(SystemTime::now());
            return false;
        }
        waiting.pulls.push_back(pull);
        !std::mem::replace(&mut waiting.writing, true)
    }

    /// Returns the next note to write; `None` ends the thread.
    pub(super) fn next(&self) -> Option<(Repository, Reference)> {
        let mut waiting = self.waiting.lock();
        let next = waiting.pulls.pop_front();
        waiting.writing = next.is_some();
        next
    }

    /// Returns whether pulls wait to be noted.
    pub(in crate::registry) fn has_waiting(&self) -> bool {
        !self.waiting.lock().pulls.is_empty()
    }

    /// A pull was not noted, so the notes from before say nothing about the last pulls any more.
    pub(in crate::registry) fn lost(&self, now: SystemTime) {
        let mut record = self.record.lock();
        record.since = Some(now);
        record.saved = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_noted_once_a_day() {
        let (notes, start) = (PullNotes::new(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let hours = |hours: u64| start + Duration::from_secs(hours * 3600);
        assert!(notes.is_due(1, hours(0)) && notes.is_due(2, hours(0)));
        for (at, due) in [(0, false), (23, false), (24, true), (25, false), (48, true), (1, true)] {
            assert_eq!(notes.is_due(1, hours(at)), due, "after {at} h");
        }
    }

    #[test]
    fn one_thread_writes_all_that_waits() {
        let notes = PullNotes::new();
        let pull = || {
            let repository = Repository { domain: None, name: "a".parse().unwrap() };
            (repository, Reference::Tag("1".parse().unwrap()))
        };
        assert!(notes.queue(pull()), "the first starts a thread");
        assert!(!notes.queue(pull()));
        assert!(notes.next().is_some() && notes.next().is_some() && notes.next().is_none());
        assert!(notes.queue(pull()), "the thread has ended");
    }
}
