//! Numbers as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];

/// Returns a number of bytes with three digits, such as `1.23 GB`. The units are decimal, as in the configuration.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    // What would be rounded up to 1000 belongs to the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Returns the share of a whole, such as `42 %`; `–` of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{:.0} %", 100.0 * part as f64 / whole as f64),
    }
}

/// Returns the time since `at` in its largest unit, such as `3 h`.
pub(super) fn age(at: SystemTime, now: SystemTime) -> String {
    span(now.duration_since(at).unwrap_or_default())
}

/// As [`age`], since a time in seconds since the epoch.
pub(super) fn ago(seconds: u64, now: SystemTime) -> String {
    age(UNIX_EPOCH + Duration::from_secs(seconds), now)
}

/// Returns a time in its largest unit.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_234_000_000, "1.23 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn times_have_one_unit() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min"), (7199, "1 h"), (172_799, "47 h"), (172_800, "2 d")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(age(SystemTime::now() + Duration::from_secs(9), SystemTime::now()), "0 s");
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!((percent(1, 3), percent(0, 0), percent(5, 5)), ("33 %".into(), "–".into(), "100 %".into()));
    }
}
