//! The totals of mirrored content over all upstreams, since the process started.

use prometheus::{IntCounterVec, core::Collector as _, proto::MetricFamily};

use super::{CacheResult, Metrics};

/// The responses with mirrored content, and what they took from upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheTotals {
    /// Responses to GET and HEAD.
    pub answers: u64,
    /// Of these, responses that needed no content from an upstream.
    pub cached: u64,
    /// Bytes sent to clients.
    pub served_bytes: u64,
    /// Bytes received from upstreams.
    pub fetched_bytes: u64,
}

impl CacheTotals {
    /// Returns what was added since `before`, of the same process.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(before.answers),
            cached: self.cached.saturating_sub(before.cached),
            served_bytes: self.served_bytes.saturating_sub(before.served_bytes),
            fetched_bytes: self.fetched_bytes.saturating_sub(before.fetched_bytes),
        }
    }
}

impl Metrics {
    /// Returns the totals. Reads a counter for each upstream and result: for use now and then.
    #[must_use]
    pub fn cache_totals(&self) -> CacheTotals {
        CacheTotals {
            answers: sum(&self.cache_answers, |_| true),
            cached: sum(&self.cache_answers, |result| !needs_upstream(result)),
            served_bytes: sum(&self.served_bytes, |_| true),
            fetched_bytes: sum(&self.fetched_bytes, |_| true),
        }
    }
}

fn needs_upstream(result: &str) -> bool {
    [CacheResult::Miss, CacheResult::Collapsed].iter().any(|needs| needs.as_str() == result)
}

/// Returns the sum of the counters whose label `result` is one of those chosen. A counter without it has an empty one.
fn sum(counters: &IntCounterVec, is_chosen: impl Fn(&str) -> bool) -> u64 {
    let families = counters.collect();
    let series = families.iter().flat_map(MetricFamily::get_metric);
    let chosen = series.filter(|series| {
        let result = series.get_label().iter().find(|label| label.name() == "result");
        is_chosen(result.map_or("", |label| label.value()))
    });
    chosen.map(|series| count(series.get_counter().get_value())).sum()
}

/// Converts a counter's value, which the library tells as a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an integer counter that only grows")]
fn count(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Content, oci::Domain};

    #[test]
    fn what_needed_no_upstream_is_cached() {
        let metrics = Metrics::new().unwrap();
        let (hub, other) = (Domain::docker_hub(), "ghcr.io".parse().unwrap());
        for (upstream, result) in [
            (&hub, CacheResult::Hit),
            (&hub, CacheResult::Miss),
            (&other, CacheResult::Revalidated),
            (&other, CacheResult::Stale),
            (&other, CacheResult::Collapsed),
        ] {
            metrics.cached(upstream, Content::Blob, result);
            metrics.served(upstream, Content::Blob, result).add(10);
        }
        metrics.fetched(&hub, Content::Manifest).add(7);
        let totals = metrics.cache_totals();
        assert_eq!(totals, CacheTotals { answers: 5, cached: 3, served_bytes: 50, fetched_bytes: 7 });
        metrics.cached(&hub, Content::Manifest, CacheResult::Hit);
        let more = CacheTotals { answers: 1, cached: 1, ..CacheTotals::default() };
        assert_eq!(metrics.cache_totals().since(totals), more);
    }
}
