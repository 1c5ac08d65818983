//! The log of evictions: a line for each blob, and one a minute with the total of those beyond the first ten.

use std::time::{Duration, Instant, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::{
    metrics::EvictionReason,
    oci::{Digest, Repository},
};

/// The time over which lines are counted.
const INTERVAL: Duration = Duration::from_secs(60);
/// The lines of single blobs in one interval. A cache at its quota evicts as many as it fetches.
const MAX_LINES: u64 = 10;

/// The evictions of the current interval.
#[derive(Debug, Default)]
pub(in crate::registry) struct EvictionLog(Mutex<Option<EvictionCount>>);

#[derive(Clone, Copy, Debug)]
struct EvictionCount {
    since: Instant,
    lines: u64,
    /// Blobs without a line of their own.
    more: u64,
    /// Bytes of these.
    bytes: u64,
}

/// A blob that was evicted.
pub(in crate::registry) struct Evicted<'a> {
    pub(in crate::registry) digest: &'a Digest,
    /// The bytes that its file occupied.
    pub(in crate::registry) allocated: u64,
    /// The time of its last request, or of its arrival: seconds since the epoch.
    pub(in crate::registry) used: u64,
    /// The repositories that linked it.
    pub(in crate::registry) repositories: &'a [Repository],
}

impl EvictionLog {
    /// Logs that a blob was evicted, or counts it.
    pub(in crate::registry) fn log(&self, evicted: &Evicted<'_>, reason: EvictionReason) {
        let Evicted { digest, allocated, used, repositories } = *evicted;
        self.tidy();
        if !self.takes_line(allocated) {
            return;
        }
        let last_used = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(used));
        tracing::info!(
            %digest,
            repository = repositories.first().map(tracing::field::display),
            repositories = repositories.len(),
            bytes = allocated,
            %last_used,
            reason = reason.as_str(),
            "evicted"
        );
    }

    /// Counts a blob. Returns whether it has a line of its own.
    fn takes_line(&self, bytes: u64) -> bool {
        let mut count = self.0.lock();
        let count = count.get_or_insert_with(|| EvictionCount { since: Instant::now(), lines: 0, more: 0, bytes: 0 });
        if count.lines < MAX_LINES {
            count.lines += 1;
            return true;
        }
        count.more += 1;
        count.bytes += bytes;
        false
    }

    /// Logs the total that is due.
    pub(in crate::registry) fn tidy(&self) {
        let due = self.0.lock().take_if(|count| count.since.elapsed() >= INTERVAL);
        if let Some(EvictionCount { since, more: blobs @ 1.., bytes, .. }) = due {
            tracing::info!(blobs, bytes, seconds = since.elapsed().as_secs(), "evicted more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_blobs_have_a_line_and_the_others_are_summed_up() {
        let log = EvictionLog::default();
        assert!((0..MAX_LINES).all(|_| log.takes_line(5)));
        assert!(!log.takes_line(5) && !log.takes_line(7));
        log.tidy();
        let count = log.0.lock().unwrap();
        assert_eq!((count.more, count.bytes), (2, 12), "the minute is not over");
        if let Some(count) = log.0.lock().as_mut() {
            count.since = count.since.checked_sub(INTERVAL).unwrap();
        }
        log.tidy();
        assert!(log.0.lock().is_none() && log.takes_line(5), "another minute");
    }
}
