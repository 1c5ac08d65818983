//! The metrics of one receiver of notifications.

use prometheus::{IntCounter, IntGauge};

use super::{DropReason, Metrics, NotificationResult};

/// The series of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    events: Vec<(&'static str, IntCounter)>,
    requests: Vec<IntCounter>,
    dropped: Vec<IntCounter>,
    waiting: IntGauge,
    bytes: IntGauge,
}

impl Metrics {
    /// Creates the series of an endpoint, whose events have one of these actions.
    #[must_use]
    pub fn endpoint(&self, name: &str, actions: &[&'static str]) -> EndpointMetrics {
        let requests = NotificationResult::ALL.iter().map(|result| result.as_str());
        let dropped = DropReason::ALL.iter().map(|reason| reason.as_str());
        let events = actions.iter().map(|action| (*action, self.notified_events.with_label_values(&[name, action])));
        EndpointMetrics {
            events: events.collect(),
            requests: requests.map(|result| self.notified_requests.with_label_values(&[name, result])).collect(),
            dropped: dropped.map(|reason| self.notified_dropped.with_label_values(&[name, reason])).collect(),
            waiting: self.notified_waiting.with_label_values(&[name]),
            bytes: self.notified_bytes.with_label_values(&[name]),
        }
    }
}

impl EndpointMetrics {
    /// Counts an event that was noted.
    pub fn noted(&self, action: &str) {
        self.events.iter().filter(|(known, _)| *known == action).for_each(|(_, counter)| counter.inc());
    }

    /// Counts a request.
    pub fn requested(&self, result: NotificationResult) {
        self.requests.get(result as usize).iter().for_each(|counter| counter.inc());
    }

    /// Counts events that are not sent.
    pub fn dropped(&self, reason: DropReason, events: u64) {
        self.dropped.get(reason as usize).iter().for_each(|counter| counter.inc_by(events));
    }

    /// Sets the number of events that wait, and the bytes of the queue.
    pub fn queued(&self, waiting: u64, bytes: u64) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
