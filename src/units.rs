//! Sizes and ages as people read them.

/// Formats an age in the largest unit that leaves a whole number.
pub(crate) fn age(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    match units.into_iter().find(|(_, unit)| seconds >= *unit) {
        Some((name, unit)) => format!("{}{name} ago", seconds / unit),
        None => format!("{seconds}s ago"),
    }
}

/// Formats a size in a decimal unit that leaves three or four digits.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_990_000, "1.9 MB"), (50_000_000_000, "50.0 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_are_read_at_a_glance() {
        for (seconds, text) in [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7199, "1h ago"), (900_000, "10d ago")]
        {
            assert_eq!(age(seconds), text);
        }
    }
}
