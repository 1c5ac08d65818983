//! Replays one trace under every policy and cache size, and computes the results.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use serde::Serialize;

use super::{
    cache::{Cache, Counts},
    policies::Policy,
    trace::Trace,
};

/// The cache sizes, in percent of the working set.
pub const PERCENTS: [u64; 4] = [2, 5, 10, 20];

/// The eviction order of object kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tiers {
    /// Blobs first; configs and manifests only if no blob is left, as in the mirror.
    Tiered,
    /// One order for everything.
    Flat,
}

/// The result of one policy at one cache size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayRow {
    /// The policy.
    pub policy: Policy,
    /// The cache size, in percent of the working set.
    pub percent: u64,
    /// The cache size, in bytes.
    pub capacity: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The results of every policy at every size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayReport {
    /// With or without tiers.
    pub tiers: Tiers,
    /// The counts of a cache without a limit: the upper bound.
    pub unbounded: Counts,
    /// By size, then in the order of [`Policy::ALL`].
    pub rows: Vec<ReplayRow>,
    /// The scores over all sizes.
    pub scores: Vec<Score>,
}

/// The score of a policy, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The policy.
    pub policy: Policy,
    /// The mean over the sizes of [`ReplayReport::score`].
    pub score: f64,
}

impl ReplayReport {
    /// Returns the score of a row, 0 to 1: the mean of its object hits and its byte hits, each as a share of those of a
    /// cache without a limit. Requests determine how long clients wait, bytes the load on the network; both have the
    /// same weight.
    #[must_use]
    pub fn score(&self, row: &ReplayRow) -> f64 {
        let share = |hits: u64, of: u64| if of == 0 { 1.0 } else { hits as f64 / of as f64 };
        let objects = share(row.counts.object_hits, self.unbounded.object_hits);
        f64::midpoint(objects, share(row.counts.byte_hits, self.unbounded.byte_hits))
    }

    /// Returns the policy with the highest score.
    #[must_use]
    pub fn best(&self) -> Option<Policy> {
        self.scores.iter().max_by(|one, other| one.score.total_cmp(&other.score)).map(|best| best.policy)
    }

    fn of(trace: &Trace, tiers: Tiers, rows: Vec<ReplayRow>) -> Self {
        let mut report = Self { tiers, unbounded: Counts::unbounded(trace), rows, scores: Vec::new() };
        report.scores = Policy::ALL.into_iter().map(|policy| report.mean(policy)).collect();
        report
    }

    fn mean(&self, policy: Policy) -> Score {
        let scores: Vec<f64> = self.rows.iter().filter(|row| row.policy == policy).map(|row| self.score(row)).collect();
        Score { policy, score: scores.iter().sum::<f64>() / scores.len().max(1) as f64 }
    }
}

/// Replays the trace under every policy at every size, on as many threads as there are processors. Calls `progress`
/// from time to time with the completed share, 0 to 1.
pub fn replay(trace: &Trace, tiers: Tiers, progress: impl Fn(f64) + Sync) -> ReplayReport {
    let working_set = trace.working_set();
    let sizes = PERCENTS.map(|percent| (percent, (u128::from(working_set) * u128::from(percent) / 100) as u64));
    let runs: Vec<_> = sizes.iter().flat_map(|size| Policy::ALL.map(|policy| (*size, policy))).collect();
    let (next, done, rows) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let progress = |requests: usize| {
        let replayed = done.fetch_add(requests, Relaxed) + requests;
        progress(replayed as f64 / (runs.len() * trace.requests.len()) as f64);
    };
    let work = || {
        while let Some(((percent, capacity), policy)) = runs.get(next.fetch_add(1, Relaxed)).copied() {
            let counts = run(trace, Cache::new(&trace.objects, policy, capacity, tiers == Tiers::Tiered), &progress);
            rows.lock().unwrap_or_else(PoisonError::into_inner).push(ReplayRow { policy, percent, capacity, counts });
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(runs.len());
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| (row.percent, Policy::ALL.iter().position(|policy| *policy == row.policy)));
    ReplayReport::of(trace, tiers, rows)
}

fn run(trace: &Trace, mut cache: Cache<'_>, progress: &impl Fn(usize)) -> Counts {
    for requests in trace.requests.chunks(1 << 20) {
        requests.iter().for_each(|id| cache.request(*id));
        progress(requests.len());
    }
    cache.counts()
}
