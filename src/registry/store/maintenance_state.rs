//! State that evictions keep from one run to the next.

use std::time::Instant;
/// The result of the last eviction that could not free enough.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Shortage {
    pub(in crate::registry) found: Instant,
    /// Bytes that eviction could free.
    pub(in crate::registry) available: u64,
}
