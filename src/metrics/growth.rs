//! The growth rate of the disk usage, from samples of the last day.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The time between two samples.
const STEP: Duration = Duration::from_secs(300);
/// The time for which samples are kept.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The shortest time that a rate is computed from.
const SHORTEST: Duration = Duration::from_secs(60);

/// A sample of the disk usage, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// All bytes below the data directory.
    pub(super) everything: u64,
    /// Of those, the bytes that cannot be evicted.
    pub(super) kept: u64,
}

/// The samples of the last day, oldest first.
#[derive(Debug, Default)]
pub(super) struct Growth(VecDeque<(Instant, Sample)>);

impl Growth {
    /// Adds a sample, unless the last one is younger than [`STEP`].
    pub(super) fn note(&mut self, now: Instant, sample: Sample) {
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.0.back().is_some_and(|(last, _)| since(*last) < STEP) {
            return;
        }
        self.0.push_back((now, sample));
        while self.0.front().is_some_and(|(first, _)| since(*first) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Returns the seconds until `room` bytes are filled, at the growth rate since the oldest sample. `which` selects
    /// the value of a sample.
    pub(super) fn full_in(&self, now: Instant, sample: Sample, room: u64, which: fn(&Sample) -> u64) -> f64 {
        let Some((at, then)) = self.0.front() else { return f64::INFINITY };
        let elapsed = now.saturating_duration_since(*at);
        let grown = which(&sample).saturating_sub(which(then));
        if grown == 0 || elapsed < SHORTEST {
            return f64::INFINITY;
        }
        as_float(room) / as_float(grown) * elapsed.as_secs_f64()
    }
}

/// Converts bytes to the type of Prometheus' values: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(super) fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(everything: u64) -> Sample {
        Sample { everything, kept: everything / 2 }
    }

    fn everything(sample: &Sample) -> u64 {
        sample.everything
    }

    #[test]
    fn the_rest_is_filled_as_fast_as_what_is_there_was() {
        let (start, mut growth) = (Instant::now(), Growth::default());
        growth.note(start, sample(1000));
        let later = start + Duration::from_secs(100);
        assert!((growth.full_in(later, sample(2000), 500, everything) - 50.).abs() < 1e-6);
        assert!((growth.full_in(later, sample(2000), 500, |sample| sample.kept) - 100.).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_grow_is_never_full() {
        let (start, mut growth) = (Instant::now(), Growth::default());
        assert!(growth.full_in(start, sample(1), 5, everything).is_infinite(), "nothing is known");
        growth.note(start, sample(1000));
        let later = start + Duration::from_secs(100);
        assert!(growth.full_in(later, sample(900), 5, everything).is_infinite(), "it shrinks");
        assert!(growth.full_in(start + Duration::from_secs(1), sample(9000), 5, everything).is_infinite(), "too early");
    }

    #[test]
    fn a_day_is_remembered() {
        let (start, mut growth) = (Instant::now(), Growth::default());
        for minute in 0..3000 {
            growth.note(start + Duration::from_secs(60 * minute), sample(minute));
        }
        assert_eq!(growth.0.len(), 289);
        let now = start + Duration::from_secs(60 * 2999);
        let rest = growth.full_in(now, sample(2999), 60, everything);
        assert!((rest - 3600.).abs() < 1., "a byte a minute: {rest}");
    }
}
