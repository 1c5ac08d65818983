//! The rate governor: how long tags are served without asking, and when nothing is asked, by what is left of an
//! upstream's pull limit.
//!
//! An upstream counts GETs of manifests, and each of its answers says how many are left in a window. As fewer are left,
//! tags are served longer without asking, since a tag that has moved costs a GET. The last ones are a reserve for what
//! is not cached.

use std::time::Duration;

use crate::metrics::PullRateLimit;

/// The whole of a limit, in the unit of all shares: thousandths.
pub(in crate::registry) const WHOLE: u64 = 1000;
/// The share of the limit below which tags are served longer without asking, in thousandths.
const AMPLE: u64 = 500;
/// The length of a window that the upstream does not name.
const DEFAULT_WINDOW: Duration = Duration::from_secs(6 * 3600);
/// At the reserve, one request in the background looks whether more is left: so many times a window, and at least and
/// at most this far apart.
const PROBES_A_WINDOW: u32 = 60;
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// The operator's settings of the governor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GovernorSettings {
    /// The longest time for which a tag is served without asking when little is left.
    pub freshness_max: Duration,
    /// The part of the limit, in per cent, that is left to what is not cached.
    pub reserve: u8,
}

/// The remaining part of a pull limit, in thousandths; `None` if there is no limit. The whole is left once its window
/// has passed.
pub(in crate::registry) fn remaining(limit: &PullRateLimit, age: Duration) -> Option<u64> {
    let window = limit.window.unwrap_or(DEFAULT_WINDOW);
    match limit.limit {
        0 => None,
        _ if age >= window => Some(WHOLE),
        all => Some(limit.remaining.min(all).saturating_mul(WHOLE) / all),
    }
}

/// Returns the pause between two looks at a budget that is at its reserve.
pub(in crate::registry) fn probe_interval(window: Option<Duration>) -> Duration {
    (window.unwrap_or(DEFAULT_WINDOW) / PROBES_A_WINDOW).clamp(PROBE_INTERVAL.0, PROBE_INTERVAL.1)
}

impl GovernorSettings {
    /// Returns whether only the reserve is left: nothing is asked for what is cached.
    pub(in crate::registry) fn is_at_reserve(&self, remaining: u64) -> bool {
        remaining <= u64::from(self.reserve) * 10
    }

    /// Returns the time for which a tag is served without asking: `freshness` while more than half is left, then longer
    /// and longer, up to the longest at the reserve. Equal steps of the budget multiply it by equal factors.
    pub(in crate::registry) fn freshness(&self, freshness: Duration, remaining: u64) -> Duration {
        let longest = self.freshness_max.max(freshness);
        let reserve = u64::from(self.reserve) * 10;
        if remaining >= AMPLE || reserve >= AMPLE {
            return if self.is_at_reserve(remaining) { longest } else { freshness };
        }
        let spent = (AMPLE - remaining.max(reserve)) as f64 / (AMPLE - reserve) as f64;
        let shortest = freshness.as_secs_f64().max(1.0);
        let stretched = shortest * (longest.as_secs_f64().max(1.0) / shortest).powf(spent);
        Duration::from_secs_f64(stretched).clamp(freshness, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: GovernorSettings = GovernorSettings { freshness_max: Duration::from_secs(21_600), reserve: 10 };

    fn limit(remaining: u64) -> PullRateLimit {
        PullRateLimit { limit: 100, remaining, window: Some(Duration::from_secs(3600)), source: None }
    }

    #[test]
    fn all_is_left_after_a_window() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(remaining(&limit(7), minutes(59)), Some(70));
        assert_eq!(remaining(&limit(7), minutes(60)), Some(1000));
        assert_eq!(remaining(&limit(200), minutes(0)), Some(1000));
        assert_eq!(remaining(&PullRateLimit { window: None, ..limit(7) }, minutes(300)), Some(70));
        assert_eq!(remaining(&PullRateLimit { limit: 0, ..limit(0) }, minutes(0)), None);
    }

    #[test]
    fn tags_are_fresh_longer_as_less_is_left() {
        let minute = Duration::from_secs(60);
        let at = |remaining| SETTINGS.freshness(minute, remaining).as_secs();
        assert_eq!((at(1000), at(500)), (60, 60));
        assert_eq!((at(100), at(0)), (21_600, 21_600));
        assert!((1100..1200).contains(&at(300)), "the middle, as factors go: {}", at(300));
        let all: Vec<_> = (0..=1000).rev().map(at).collect();
        assert!(all.is_sorted(), "never shorter when less is left");
        assert_eq!(SETTINGS.freshness(Duration::from_secs(86_400), 0).as_secs(), 86_400, "never below proxy.freshness");
        assert_eq!(SETTINGS.freshness(Duration::ZERO, 1000), Duration::ZERO);
    }

    #[test]
    fn the_reserve_is_kept() {
        assert!(SETTINGS.is_at_reserve(100) && !SETTINGS.is_at_reserve(101));
        let none = GovernorSettings { reserve: 0, ..SETTINGS };
        assert!(none.is_at_reserve(0) && !none.is_at_reserve(1));
        let half = GovernorSettings { reserve: 60, ..SETTINGS };
        assert_eq!(half.freshness(Duration::from_secs(60), 550).as_secs(), 21_600);
        assert_eq!(half.freshness(Duration::from_secs(60), 700).as_secs(), 60);
    }
}
