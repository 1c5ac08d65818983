//! A rate that a test's client keeps to, so that it takes no more of this machine than a network would let it.

use std::{
    thread,
    time::{Duration, Instant},
};

/// So much a second, and no more.
pub(crate) struct Pace {
    rate: u64,
    /// The start of the next piece.
    next: Instant,
}

impl Pace {
    pub(crate) fn of(rate: u64) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// Sleeps until what came before has had its time, and counts `more`.
    pub(crate) fn wait(&mut self, more: u64) {
        let now = Instant::now();
        thread::sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + Duration::from_secs_f64(more as f64 / self.rate as f64);
    }
}
