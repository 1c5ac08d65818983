//! The methods that count events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge};

use super::{
    CacheResult, Class, CollectedKind, Content, EvictionReason, FillResult, LabelledCounter, MaintenanceEvent,
    MaintenanceJob, Metrics, RetentionKind, Route, UpstreamResult,
};
use crate::oci::Domain;

/// The methods of requests to upstreams.
const ASKED_WITH: [&str; 2] = ["GET", "HEAD"];

impl Metrics {
    /// Creates the series whose labels are known in advance: a rate needs a 0 to start from.
    pub(super) fn create_series(&self) {
        for reason in EvictionReason::ALL {
            at(&self.evicted_bytes, &[reason.as_str()]);
            at(&self.evicted_objects, &[reason.as_str()]);
            self.evicted_age.with_label_values(&[reason.as_str()]);
        }
        Class::ALL.iter().for_each(|class| drop(at(&self.damaged, &[class.as_str()])));
        CollectedKind::ALL.iter().for_each(|kind| drop(at(&self.collected_objects, &[kind.as_str()])));
        RetentionKind::ALL.iter().for_each(|kind| drop(at(&self.expired, &[kind.as_str()])));
        MaintenanceJob::ALL.iter().for_each(|job| drop(at(&self.job_panics, &[job.as_str()])));
        for route in Route::ALL {
            at(&self.http_received, &[route.as_str()]);
            at(&self.http_sent, &[route.as_str()]);
        }
    }

    /// Creates the series of an upstream.
    pub fn add_upstream(&self, upstream: &Domain) {
        let upstream = upstream.as_str();
        for content in Content::ALL {
            let content = content.as_str();
            at(&self.fetched_bytes, &[upstream, content]);
            self.upstream_duration.with_label_values(&[upstream, content]);
            for answer in CacheResult::ALL {
                at(&self.cache_answers, &[upstream, content, answer.as_str()]);
                at(&self.served_bytes, &[upstream, content, answer.as_str()]);
            }
            for method in ASKED_WITH {
                for outcome in UpstreamResult::ALL {
                    at(&self.upstream_requests, &[upstream, content, method, outcome.as_str()]);
                }
            }
        }
        FillResult::ALL.iter().for_each(|ending| drop(at(&self.fills_ended, &[upstream, ending.as_str()])));
        at(&self.fills_resumed, &[upstream]);
        for content in [Content::Manifest, Content::Blob] {
            at(&self.mismatches, &[upstream, content.as_str()]);
        }
    }

    /// Counts an answered request; `method` is one of HTTP's own.
    pub fn answered(&self, route: Route, method: &str, code: u16, took: Duration) {
        at(&self.http_requests, &[route.as_str(), method, &code.to_string()]).add(1);
        self.http_duration.with_label_values(&[route.as_str(), method]).observe(took.as_secs_f64());
    }

    /// Returns the counter for the bytes of request bodies.
    #[must_use]
    pub fn received(&self, route: Route) -> LabelledCounter {
        at(&self.http_received, &[route.as_str()])
    }

    /// Returns the counter for the bytes of response bodies.
    #[must_use]
    pub fn sent(&self, route: Route) -> LabelledCounter {
        at(&self.http_sent, &[route.as_str()])
    }

    /// Counts a response with mirrored content.
    pub fn cached(&self, upstream: &Domain, content: Content, answer: CacheResult) {
        at(&self.cache_answers, &[upstream.as_str(), content.as_str(), answer.as_str()]).add(1);
    }

    /// Returns the counter for the bytes of mirrored content sent to clients.
    #[must_use]
    pub fn served(&self, upstream: &Domain, content: Content, answer: CacheResult) -> LabelledCounter {
        at(&self.served_bytes, &[upstream.as_str(), content.as_str(), answer.as_str()])
    }

    /// Returns the counter for the bytes received from an upstream.
    #[must_use]
    pub fn fetched(&self, upstream: &Domain, content: Content) -> LabelledCounter {
        at(&self.fetched_bytes, &[upstream.as_str(), content.as_str()])
    }

    /// Counts a request to an upstream.
    pub fn asked(&self, upstream: &Domain, content: Content, method: &str, outcome: UpstreamResult, took: Duration) {
        let (upstream, content) = (upstream.as_str(), content.as_str());
        at(&self.upstream_requests, &[upstream, content, method, outcome.as_str()]).add(1);
        self.upstream_duration.with_label_values(&[upstream, content]).observe(took.as_secs_f64());
    }

    /// Counts a finished fill.
    pub fn filled(&self, upstream: &Domain, ending: FillResult) {
        at(&self.fills_ended, &[upstream.as_str(), ending.as_str()]).add(1);
    }

    /// Counts a fill that continued a partial blob.
    pub fn resumed(&self, upstream: &Domain) {
        at(&self.fills_resumed, &[upstream.as_str()]).add(1);
    }

    /// Counts content from an upstream that does not match its digest.
    pub fn mismatched(&self, upstream: &Domain, content: Content) {
        at(&self.mismatches, &[upstream.as_str(), content.as_str()]).add(1);
    }

    /// Counts an evicted blob of this many bytes, unused for `idle`.
    pub fn evicted(&self, reason: EvictionReason, bytes: u64, idle: Duration) {
        at(&self.evicted_bytes, &[reason.as_str()]).add(bytes);
        at(&self.evicted_objects, &[reason.as_str()]).add(1);
        self.evicted_age.with_label_values(&[reason.as_str()]).observe(idle.as_secs_f64());
    }

    /// Counts an event of verification, retention or garbage collection.
    pub fn found(&self, found: MaintenanceEvent) {
        match found {
            MaintenanceEvent::Verified(bytes) => {
                self.verified_blobs.inc();
                self.verified_bytes.inc_by(bytes);
            }
            MaintenanceEvent::Damaged(class) => at(&self.damaged, &[class.as_str()]).add(1),
            MaintenanceEvent::Restored => self.restored.inc(),
            MaintenanceEvent::VerifyEnded => stamp(&self.verify_ended),
            MaintenanceEvent::Collected(kind, bytes) => {
                at(&self.collected_objects, &[kind.as_str()]).add(1);
                self.collected_bytes.inc_by(bytes);
            }
            MaintenanceEvent::CollectEnded => stamp(&self.collect_ended),
            MaintenanceEvent::Expired(kind) => at(&self.expired, &[kind.as_str()]).add(1),
            MaintenanceEvent::RetentionEnded { kept } => {
                self.retained.set(i64::try_from(kept).unwrap_or(i64::MAX));
                stamp(&self.retention_ended);
            }
        }
    }

    /// Counts a panic of a background job.
    pub fn job_panicked(&self, job: MaintenanceJob) {
        at(&self.job_panics, &[job.as_str()]).add(1);
    }

    /// Sets the expiry of the server's certificate; `None` without one.
    pub fn certificate_ends(&self, at: Option<SystemTime>) {
        *self.certificate.lock() = at;
    }
}

fn at(counters: &IntCounterVec, labels: &[&str]) -> LabelledCounter {
    LabelledCounter(counters.with_label_values(labels))
}

fn stamp(gauge: &IntGauge) {
    gauge.set(i64::try_from(seconds(SystemTime::now())).unwrap_or(i64::MAX));
}

/// Seconds since the epoch.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
