//! The same work on a server under attack and on an idle one, in turn: the idle one shows by how much the machine
//! itself is slower at the moment.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The number of pairs that are judged together.
pub(super) const WINDOW: usize = 20;

/// The durations of the same work on two servers.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    attacked: Duration,
    idle: Duration,
}

impl Pair {
    /// Does the work on the attacked server, then on the idle one.
    pub(super) fn of(attacked: impl FnOnce(), idle: impl FnOnce()) -> Self {
        let timed = |work: &mut dyn FnMut()| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        };
        let (mut attacked, mut idle) = (Some(attacked), Some(idle));
        Self {
            attacked: timed(&mut || attacked.take().expect("once")()),
            idle: timed(&mut || idle.take().expect("once")()),
        }
    }
}

/// Minimum and median. The minimum shows the cost of the attack without other load; the median shows that it holds for
/// most of the work.
#[derive(Clone, Copy)]
pub(super) struct Took {
    best: Duration,
    median: Duration,
}

impl Took {
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<_> = durations.collect();
        all.sort_unstable();
        Self { best: all[0], median: all[all.len() / 2] }
    }

    pub(super) fn attacked(pairs: &[Pair]) -> Self {
        Self::of(pairs.iter().map(|pair| pair.attacked))
    }

    pub(super) fn idle(pairs: &[Pair]) -> Self {
        Self::of(pairs.iter().map(|pair| pair.idle))
    }

    fn is_under_twice(self, other: Self) -> bool {
        self.best < other.best * 2 && self.median < other.median * 2
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?} at best, {:.1?} in the middle", self.best, self.median)
    }
}

/// Asserts that in a whole window of pairs the attacked server took less than twice the time: what an attack costs, it
/// costs in every window, and what another program does to this machine, not.
pub(super) fn take_under_twice(pairs: &[Pair]) {
    let holds = |window: &[Pair]| Took::attacked(window).is_under_twice(Took::idle(window));
    let said = format!("{} under attack; {} on an idle server beside it", Took::attacked(pairs), Took::idle(pairs));
    assert!(pairs.len() >= WINDOW && pairs.windows(WINDOW).step_by(WINDOW / 2).any(holds), "{said}");
}
