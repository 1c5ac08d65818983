//! What eviction and rebuilds remember from one run to the next.

use std::time::Instant;
/// What was found the last time that not enough could go.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Lack {
    pub(in crate::registry) found: Instant,
    /// How many bytes could go.
    pub(in crate::registry) available: u64,
}

/// What is known of walks of the disk: there is one at a time, since two would count in each other's survey.
#[derive(Debug, Default)]
pub(in crate::registry) struct RebuildState {
    /// When there is to be another, since the last one could not read everything.
    pub(in crate::registry) due: Option<Instant>,
    /// When room is to be made for the index again, since none could be.
    pub(in crate::registry) no_room_until: Option<Instant>,
}
