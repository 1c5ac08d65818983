//! Metrics in Prometheus' text format: counters, gauges and their exposition.
//!
//! Events are counted through [`Metrics`], which the composition root passes down. State such as the disk usage is read
//! at each scrape and never stored ([`GaugeValues`]). The HTTP endpoint is on the floor above.

mod cache_totals;
mod definitions;
mod expose;
mod gauges;
mod labels;
mod notifications;
mod process;
mod record;

use std::{fmt, time::SystemTime};

use parking_lot::Mutex;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

pub use cache_totals::CacheTotals;
pub use definitions::{METRICS, Metric, MetricGroup, MetricKind};
use expose::Maker;
pub use expose::TEXT;
pub use gauges::{DiskGauges, GaugeValues, PullRateLimit, Upstream};
pub use labels::{
    CacheResult, Class, CollectedKind, Content, DropReason, EvictionReason, FillResult, MaintenanceJob,
    NotificationResult, RetentionKind, Route, UpstreamResult,
};
pub use notifications::EndpointMetrics;

/// A metric could not be created or written: a bug in the definitions.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct Error(#[from] prometheus::Error);

/// An event of verification, retention or garbage collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceEvent {
    /// A blob of this many bytes was hashed, with any result.
    Verified(u64),
    /// A blob does not match its digest.
    Damaged(Class),
    /// A damaged blob was replaced by its right bytes.
    Restored,
    /// A verification of all blobs is complete.
    VerifyEnded,
    /// Unreachable content of this many bytes was removed.
    Collected(CollectedKind, u64),
    /// A garbage collection is complete.
    CollectEnded,
    /// Retention removed something.
    Expired(RetentionKind),
    /// A run of retention is complete.
    RetentionEnded {
        /// The tags that some rule matches and that stayed.
        kept: u64,
    },
}

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    evicted_bytes: IntCounterVec,
    evicted_objects: IntCounterVec,
    evicted_age: HistogramVec,
    cache_answers: IntCounterVec,
    served_bytes: IntCounterVec,
    fetched_bytes: IntCounterVec,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    fills_ended: IntCounterVec,
    fills_resumed: IntCounterVec,
    mismatches: IntCounterVec,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    http_received: IntCounterVec,
    http_sent: IntCounterVec,
    damaged: IntCounterVec,
    restored: IntCounter,
    verified_blobs: IntCounter,
    verified_bytes: IntCounter,
    verify_ended: IntGauge,
    collected_objects: IntCounterVec,
    collected_bytes: IntCounter,
    collect_ended: IntGauge,
    expired: IntCounterVec,
    retained: IntGauge,
    retention_ended: IntGauge,
    job_panics: IntCounterVec,
    notified_events: IntCounterVec,
    notified_requests: IntCounterVec,
    notified_dropped: IntCounterVec,
    notified_waiting: IntGaugeVec,
    notified_bytes: IntGaugeVec,
    certificate: Mutex<Option<SystemTime>>,
}

/// A counter with its labels resolved, for frequent use.
#[derive(Clone)]
pub struct LabelledCounter(IntCounter);

impl LabelledCounter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.inc_by(more);
    }
}

impl fmt::Debug for LabelledCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LabelledCounter").field(&self.0.get()).finish()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Creates all metrics, starting from 0.
    ///
    /// # Errors
    /// [`Error`] if Prometheus refuses an entry of the definitions.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let new = Maker(&registry);
        let metrics = Self {
            evicted_bytes: new.counters(&definitions::EVICTED_BYTES)?,
            evicted_objects: new.counters(&definitions::EVICTED_OBJECTS)?,
            evicted_age: new.histograms(&definitions::EVICTED_AGE)?,
            cache_answers: new.counters(&definitions::CACHE_ANSWERS)?,
            served_bytes: new.counters(&definitions::SERVED_BYTES)?,
            fetched_bytes: new.counters(&definitions::FETCHED_BYTES)?,
            upstream_requests: new.counters(&definitions::UPSTREAM_REQUESTS)?,
            upstream_duration: new.histograms(&definitions::UPSTREAM_DURATION)?,
            fills_ended: new.counters(&definitions::FILLS_ENDED)?,
            fills_resumed: new.counters(&definitions::FILLS_RESUMED)?,
            mismatches: new.counters(&definitions::MISMATCHES)?,
            http_requests: new.counters(&definitions::HTTP_REQUESTS)?,
            http_duration: new.histograms(&definitions::HTTP_DURATION)?,
            http_received: new.counters(&definitions::HTTP_RECEIVED)?,
            http_sent: new.counters(&definitions::HTTP_SENT)?,
            damaged: new.counters(&definitions::DAMAGED)?,
            restored: new.counter(&definitions::RESTORED)?,
            verified_blobs: new.counter(&definitions::VERIFIED_BLOBS)?,
            verified_bytes: new.counter(&definitions::VERIFIED_BYTES)?,
            verify_ended: new.gauge(&definitions::VERIFY_ENDED)?,
            collected_objects: new.counters(&definitions::COLLECTED_OBJECTS)?,
            collected_bytes: new.counter(&definitions::COLLECTED_BYTES)?,
            collect_ended: new.gauge(&definitions::COLLECT_ENDED)?,
            expired: new.counters(&definitions::EXPIRED)?,
            retained: new.gauge(&definitions::RETAINED)?,
            retention_ended: new.gauge(&definitions::RETENTION_ENDED)?,
            job_panics: new.counters(&definitions::JOB_PANICS)?,
            notified_events: new.counters(&definitions::NOTIFIED_EVENTS)?,
            notified_requests: new.counters(&definitions::NOTIFIED_REQUESTS)?,
            notified_dropped: new.counters(&definitions::NOTIFIED_DROPPED)?,
            notified_waiting: new.gauges(&definitions::NOTIFIED_WAITING)?,
            notified_bytes: new.gauges(&definitions::NOTIFIED_BYTES)?,
            certificate: Mutex::default(),
            registry: registry.clone(),
        };
        new.gauges(&definitions::BUILD_INFO)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.create_series();
        Ok(metrics)
    }
}
