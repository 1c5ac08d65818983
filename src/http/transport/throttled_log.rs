//! A log line now and then, however often its event happens.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Between two log lines about one limit.
const QUIET: Duration = Duration::from_secs(10);

/// What is told of a limit: a line now and then, however many run into it.
#[derive(Debug, Default)]
pub(in crate::http) struct ThrottledLog {
    last: Mutex<Option<Instant>>,
    kept: AtomicU64,
}

impl ThrottledLog {
    pub(in crate::http) fn tell(&self, what: &str) {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() < QUIET) {
            self.kept.fetch_add(1, Relaxed);
            return;
        }
        *last = Some(Instant::now());
        match self.kept.swap(0, Relaxed) {
            0 => tracing::warn!("{what}"),
            kept => tracing::warn!("{what} ({kept} more since it was said last)"),
        }
    }
}
