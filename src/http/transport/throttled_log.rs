//! A warning that is logged at most once in ten seconds, however often its event happens.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The least time between two lines about one limit.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Logs a warning at most once in `LOG_INTERVAL`, and counts those it suppressed.
#[derive(Debug, Default)]
pub(in crate::http) struct ThrottledLog {
    last: Mutex<Option<Instant>>,
    suppressed: AtomicU64,
}

impl ThrottledLog {
    pub(in crate::http) fn warn(&self, what: &str) {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.suppressed.fetch_add(1, Relaxed);
            return;
        }
        *last = Some(Instant::now());
        match self.suppressed.swap(0, Relaxed) {
            0 => tracing::warn!("{what}"),
            suppressed => tracing::warn!("{what} ({suppressed} more since the last such line)"),
        }
    }
}
