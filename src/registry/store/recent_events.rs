//! The latest evictions, and what was not stored for want of space, for people who look: a few in memory.

use std::{collections::VecDeque, time::SystemTime};

use parking_lot::Mutex;

use crate::{
    metrics::EvictionReason,
    oci::{Digest, Repository},
    registry::Refused,
};

/// The number of events that are remembered.
const MAX_EVENTS: usize = 50;

/// An eviction, or a blob that was served without being stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceEvent {
    /// The time of the event.
    pub at: SystemTime,
    /// The kind of event.
    pub kind: SpaceEventKind,
    /// The blob.
    pub digest: Digest,
    /// A repository that has it; `None` if none is known.
    pub repository: Option<Repository>,
    /// The bytes that it occupied, or that it needed; `None` if that is unknown.
    pub bytes: Option<u64>,
}

/// The kind of a [`SpaceEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceEventKind {
    /// A mirrored blob was evicted.
    Evicted(EvictionReason),
    /// A blob from an upstream was served, but not stored.
    NotStored(Refused),
}

/// The latest events, oldest first.
#[derive(Debug, Default)]
pub(in crate::registry) struct RecentEvents(Mutex<VecDeque<SpaceEvent>>);

impl RecentEvents {
    /// Adds an event, in the place of the oldest if there are many.
    pub(in crate::registry) fn add(&self, event: SpaceEvent) {
        let mut events = self.0.lock();
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Returns the events, the latest first.
    pub(in crate::registry) fn latest(&self) -> Vec<SpaceEvent> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let events = RecentEvents::default();
        for bytes in 0..60 {
            events.add(SpaceEvent {
                at: SystemTime::UNIX_EPOCH,
                kind: SpaceEventKind::Evicted(EvictionReason::Room),
                digest: Digest::sha256(b""),
                repository: None,
                bytes: Some(bytes),
            });
        }
        let bytes: Vec<_> = events.latest().iter().filter_map(|event| event.bytes).collect();
        assert_eq!(bytes, (10..60).rev().collect::<Vec<_>>());
    }
}
