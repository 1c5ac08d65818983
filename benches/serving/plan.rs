//! The sizes of the loads, from environment variables.

use std::time::Duration;

/// The sizes of the loads.
pub(crate) struct Plan {
    pub(crate) mib: u64,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) slow: usize,
}

impl Plan {
    pub(crate) fn from_environment() -> Self {
        Self {
            mib: number("BENCH_MIB", 1024),
            rounds: usize::try_from(number("BENCH_ROUNDS", 5)).unwrap(),
            time: Duration::from_secs(number("BENCH_SECONDS", 5)),
            slow: usize::try_from(number("BENCH_SLOW", 500)).unwrap(),
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| panic!("{variable}={text} is not a count"))
}
