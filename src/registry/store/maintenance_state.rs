//! State that eviction and index rebuilds keep from one run to the next.

use std::time::Instant;
/// The result of the last eviction that could not free enough.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Shortage {
    pub(in crate::registry) found: Instant,
    /// Bytes that eviction could free.
    pub(in crate::registry) available: u64,
}

/// The schedule of index rebuilds. Only one runs at a time, since two would disturb each other's totals.
#[derive(Debug, Default)]
pub(in crate::registry) struct RebuildState {
    /// The time of the next rebuild, after one that could not read everything.
    pub(in crate::registry) due: Option<Instant>,
    /// The time of the next attempt to free space for the index, after one that failed.
    pub(in crate::registry) no_room_until: Option<Instant>,
}
