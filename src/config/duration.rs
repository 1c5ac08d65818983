//! Parses and formats durations in Go's notation, as in the configuration of `registry:2`: `1m30s`, `168h`, `0`. Also
//! accepts the units of humantime: `1day`.

use std::time::Duration;

/// Reads Go's notation, and humantime's wider one (`1day`).
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() }
}

/// Writes a duration in a notation that Go reads too.
pub(super) fn write(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), u64::from(duration.subsec_nanos()));
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanos / 1_000_000, "ms"),
        (nanos / 1_000 % 1_000, "us"),
        (nanos % 1_000, "ns"),
    ];
    let written: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if written.is_empty() { "0s".to_owned() } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_s_durations() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("1m30s", 90_000), ("168h", 604_800_000), ("1.5h", 5_400_000), ("10ms", 10)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "soon", "5", "-1s", "1", "s", "99999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "1m", "1m30s", "168h", "1h1m1s1ms1us1ns"] {
            assert_eq!(write(parse(text).unwrap()), text);
        }
    }
}
