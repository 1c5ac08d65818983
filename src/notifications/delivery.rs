//! Sends the events of one endpoint's queue, one at a time and in their order. A failed request is repeated until the
//! endpoint takes the event: at once up to the threshold of failures, after a pause from then on, as in registry:2.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinError;

use super::queue::{Queue, Waiting};
use crate::{
    lanes::{Lane, Lanes},
    metrics::{EndpointMetrics, NotificationResult},
    storage,
    upstream::{ClientThreads, Error, Webhook},
};

/// The media type of the requests, in distribution 3; 2.8 has `v1` for the same content.
pub(super) const EVENTS_MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";

/// The parts that send an endpoint's events.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) webhook: Webhook,
    pub(super) threshold: u64,
    pub(super) backoff: Duration,
    pub(super) metrics: EndpointMetrics,
    pub(super) threads: ClientThreads,
    pub(super) lanes: Lanes,
}

/// A request that did not deliver its event.
enum Failure {
    Status(u16),
    NoAnswer(Error),
}

impl Delivery {
    /// Sends events as they come, forever.
    pub(super) async fn run(self) {
        let mut failures = 0;
        let mut delivered = None;
        loop {
            let waiting = match self.next(delivered.take()).await {
                Ok(Some(waiting)) => waiting,
                Ok(None) => {
                    self.queue.filled.notified().await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(endpoint = self.name, %error, "queue of notifications cannot be read");
                    tokio::time::sleep(self.backoff).await;
                    continue;
                }
            };
            match self.send(&waiting).await {
                Ok(()) => {
                    self.succeeded(failures);
                    failures = 0;
                    delivered = Some(waiting);
                }
                Err(failure) => {
                    failures += 1;
                    self.failed(failures, &failure);
                    if failures >= self.threshold {
                        tokio::time::sleep(self.backoff).await;
                    }
                }
            }
        }
    }

    /// Marks an event as delivered, and returns the first that waits.
    async fn next(&self, delivered: Option<Waiting>) -> Result<Option<Waiting>, storage::Error> {
        let queue = Arc::clone(&self.queue);
        let next = self.lanes.run(Lane::Job, move |io| {
            delivered.map_or(Ok(()), |waiting| queue.delivered(io, &waiting))?;
            queue.first(io)
        });
        match next.await.map_err(JoinError::try_into_panic) {
            Ok(next) => next,
            // The supervisor counts it, and begins again.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process is shutting down.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    async fn send(&self, waiting: &Waiting) -> Result<(), Failure> {
        let envelope = format!("{{\"events\":[{}]}}", waiting.event);
        let sent = self.threads.post(&self.webhook, Bytes::from(envelope)).await;
        let (result, outcome) = match sent {
            Ok(200..300) => (NotificationResult::Ok, Ok(())),
            Ok(status) => (NotificationResult::Refused, Err(Failure::Status(status))),
            Err(error @ Error::Timeout { .. }) => (NotificationResult::Timeout, Err(Failure::NoAnswer(error))),
            Err(error) => (NotificationResult::Unreachable, Err(Failure::NoAnswer(error))),
        };
        self.metrics.requested(result);
        outcome
    }

    fn succeeded(&self, failures: u64) {
        if failures >= self.threshold {
            tracing::info!(endpoint = self.name, failures, "notifications are delivered again");
        }
    }

    /// Logs the first failure in a row, and the one that reaches the threshold.
    fn failed(&self, failures: u64, failure: &Failure) {
        let endpoint = &self.name;
        if failures == self.threshold {
            let (waiting, pause) = (self.queue.waiting(), humantime::format_duration(self.backoff));
            tracing::warn!(endpoint, failures, waiting, %failure, "notifications are not delivered; trying again every {pause}");
        } else if failures == 1 {
            tracing::warn!(endpoint, %failure, "notification not delivered; trying again");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status @ 300..400) => {
                write!(f, "it answered {status}; redirects are not followed: correct the endpoint's url")
            }
            Self::Status(status) => write!(f, "it answered {status}"),
            Self::NoAnswer(Error::Timeout { .. }) => f.write_str("no answer within its timeout"),
            Self::NoAnswer(Error::Unreachable(error)) => f.write_str(error),
            Self::NoAnswer(error) => error.fmt(f),
        }
    }
}
