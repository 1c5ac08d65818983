//! Shares and times as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::units;

/// Returns the share of a whole, such as `42 %`; `–` of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.0} %", 100.0 * part as f64 / whole as f64),
    }
}

/// Returns the time since `at`, such as `3h ago`.
pub(super) fn since(at: SystemTime, now: SystemTime) -> String {
    units::age(now.duration_since(at).unwrap_or_default().as_secs())
}

/// As [`since`], of a time in seconds since the epoch.
pub(super) fn ago(seconds: u64, now: SystemTime) -> String {
    since(UNIX_EPOCH + Duration::from_secs(seconds), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!((percent(1, 3), percent(0, 0), percent(5, 5)), ("33 %".into(), "–".into(), "100 %".into()));
    }

    /// A clock may be set back.
    #[test]
    fn a_time_to_come_is_now() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!((ago(1_700_000_009, now), ago(1_699_996_400, now)), ("0s ago".to_owned(), "1h ago".to_owned()));
    }
}
