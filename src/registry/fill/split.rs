//! Plans the split of a large blob among several connections, where one is slow: each fetches a segment at a time, and
//! their bytes are passed on in order. Segments that are ahead wait in memory. `fetch.rs` fetches them.

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

/// Fetches that may be split at the same time. Each takes up to [`CONNECTIONS`] times [`MAX_SEGMENT_BYTES`] of memory.
pub(in crate::registry) const MAX_SPLITS: usize = 2;
/// Connections of one split fetch: the one whose bytes are passed on, and those ahead.
pub(in crate::registry) const CONNECTIONS: u64 = 4;
/// The bounds of a segment's length in bytes: long enough that a round trip for each costs little, and short enough
/// that each connection gets two of them.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;
const MAX_SEGMENT_BYTES: u64 = 4 << 20;
/// The time for which the speed of the single connection is measured.
const SAMPLE: Duration = Duration::from_millis(150);
/// The least remaining time, at the speed of the single connection, that is worth a split.
const WORTHWHILE: Duration = Duration::from_millis(500);
/// Segments after which the speed of a split is known.
const SAMPLE_SEGMENTS: u64 = 2 * CONNECTIONS;
/// The least gain, in per cent of the single connection's speed, for which a split goes on.
const MIN_GAIN_PERCENT: u128 = 120;

/// The speed of a single connection, and the decision to split.
#[derive(Debug)]
pub(in crate::registry) struct Pace {
    since: Instant,
    from: u64,
    /// The time for which the upstream was waited for. The rest of the time this machine was the slow one.
    waited: Duration,
}

impl Pace {
    /// Begins to measure at the offset `from`.
    pub(in crate::registry) fn new(from: u64) -> Self {
        Self { since: Instant::now(), from, waited: Duration::ZERO }
    }

    /// Waits for the upstream's next bytes.
    pub(in crate::registry) async fn wait<T>(&mut self, next: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let next = next.await;
        self.waited += began.elapsed();
        next
    }

    /// Returns the speed in bytes a second if it is known, and so low that the bytes between `at` and `size` are worth
    /// a split.
    pub(in crate::registry) fn worth_a_split(&self, at: u64, size: u64) -> Option<u64> {
        let took = self.since.elapsed();
        let is_upstream_slow = self.waited * 2 > took;
        worth_a_split(took, at - self.from, size.saturating_sub(at)).filter(|_| is_upstream_slow)
    }
}

fn worth_a_split(took: Duration, came: u64, left: u64) -> Option<u64> {
    if took < SAMPLE || came == 0 || left <= 2 * MIN_SEGMENT_BYTES * CONNECTIONS {
        return None;
    }
    let speed = u128::from(came) * 1000 / took.as_millis().max(1);
    let speed = u64::try_from(speed).unwrap_or(u64::MAX);
    (u128::from(left) * 1000 > u128::from(speed) * WORTHWHILE.as_millis()).then_some(speed)
}

/// The segments of a split, in order, and whether it is worth its connections.
pub(in crate::registry) struct SplitPlan {
    size: u64,
    /// The length of a segment.
    segment: u64,
    /// The offset of the next segment to begin.
    next: u64,
    began: Instant,
    passed: u64,
    /// The speed of the single connection before, in bytes a second.
    before: u64,
    _permit: OwnedSemaphorePermit,
}

impl SplitPlan {
    /// Plans the segments after the one at `at`, which the single connection still fetches.
    pub(in crate::registry) fn new(at: u64, size: u64, before: u64, permit: OwnedSemaphorePermit) -> Self {
        let segment = (size.saturating_sub(at) / (2 * CONNECTIONS)).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        Self { size, segment, next: at + segment, began: Instant::now(), passed: 0, before, _permit: permit }
    }

    /// Returns the start and the end of the next segment; `None` after the last, and as soon as the split turns out to
    /// be hardly faster than the single connection.
    pub(in crate::registry) fn next_segment(&mut self) -> Option<(u64, u64)> {
        let is_known = self.passed >= SAMPLE_SEGMENTS;
        if self.next >= self.size
            || is_known && is_in_vain(self.began.elapsed(), self.passed * self.segment, self.before)
        {
            return None;
        }
        let start = self.next;
        self.next = (start + self.segment).min(self.size);
        Some((start, self.next))
    }

    /// Counts a segment that was passed on.
    pub(in crate::registry) fn passed(&mut self) {
        self.passed += 1;
    }
}

fn is_in_vain(took: Duration, came: u64, before: u64) -> bool {
    u128::from(came) * 1000 * 100 < u128::from(before) * took.as_millis() * MIN_GAIN_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn a_slow_connection_with_much_left_is_split() {
        let second = Duration::from_secs(1);
        assert_eq!(worth_a_split(second, 20 * MB, 200 * MB), Some(20 * MB));
        assert_eq!(worth_a_split(Duration::from_millis(100), 2 * MB, 200 * MB), None, "too early to tell");
        assert_eq!(worth_a_split(second, 200 * MB, 100 * MB), None, "half a second is not worth it");
        assert_eq!(worth_a_split(second, MB, 8 * MB), None, "little is left");
        assert_eq!(worth_a_split(second, 0, 200 * MB), None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_no_slow_upstream() {
        let mut pace = Pace::new(0);
        let wait = || tokio::time::sleep(SAMPLE);
        pace.wait(wait()).await;
        assert!(pace.worth_a_split(MB, 200 * MB).is_some());
        wait().await;
        wait().await;
        assert_eq!(pace.worth_a_split(MB, 200 * MB), None);
    }

    #[test]
    fn a_split_that_gains_nothing_is_noticed() {
        let second = Duration::from_secs(1);
        assert!(is_in_vain(second, 22 * MB, 20 * MB));
        assert!(!is_in_vain(second, 40 * MB, 20 * MB));
    }
}
