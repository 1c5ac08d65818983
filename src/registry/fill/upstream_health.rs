//! The health of one upstream: a circuit breaker that decides if requests are sent to it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use crate::{
    metrics::Metrics,
    upstream::{self, ClientThreads, Remote},
};

/// The total time for a small request, with token and redirects. After it, the upstream counts as unreachable.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for which an upstream is not asked while cached answers serve, after it was unreachable or sent a 429
/// without a time. After that, one request probes it in the background, while the others use the cache.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The most that the end of a `Retry-After` time is spread by, so that waiting requests do not arrive at once.
const RETRY_JITTER: Duration = Duration::from_secs(10);

/// An upstream with its health.
#[derive(Clone)]
pub(in crate::registry) struct UpstreamHealth {
    pub(in crate::registry) remote: Remote,
    pub(in crate::registry) threads: ClientThreads,
    pub(in crate::registry) metrics: Arc<Metrics>,
    health: Arc<Mutex<Health>>,
    /// Held by the one request that is sent at the end of a `Retry-After` time.
    first: Arc<AsyncMutex<()>>,
}

impl fmt::Debug for UpstreamHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("domain", self.remote.domain())
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Health {
    /// The upstream was unreachable; the time of the next probe.
    down: Option<Instant>,
    /// The upstream sent a 429.
    busy: Option<Busy>,
}

#[derive(Debug)]
struct Busy {
    until: Instant,
    /// The time of the next probe after `until`, for requests that the cache can serve.
    probe_at: Instant,
    /// `true` if the upstream sent a `Retry-After`.
    said: bool,
    /// `true` if the 429 answered a request for a blob; pull limits apply to manifests only.
    blobs: bool,
    message: String,
}

/// The decision about a request.
enum Admission {
    Ask,
    /// Ask as the first request after a `Retry-After` time.
    AskFirst,
    Wait(upstream::Error),
}

impl UpstreamHealth {
    pub(in crate::registry) fn new(remote: Remote, threads: ClientThreads, metrics: Arc<Metrics>) -> Self {
        Self { remote, threads, metrics, health: Arc::default(), first: Arc::default() }
    }

    /// Sends a small request, with the timeout [`ASK_TIMEOUT`], and updates the health from its result. After a 429
    /// with a `Retry-After`, no request is sent before that time; then one is sent, and the others wait for its result.
    pub(in crate::registry) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, upstream::Error>>,
    ) -> Result<T, Arc<upstream::Error>> {
        let _first = self.turn().await?;
        let answer = match tokio::time::timeout(ASK_TIMEOUT, request).await {
            Ok(answer) => answer,
            Err(_) => Err(upstream::Error::Timeout { phase: upstream::Phase::Head }),
        };
        self.learn(answer.as_ref().err());
        if !matches!(answer, Err(upstream::Error::ConcurrencyLimit)) {
            self.health.lock().end_busy(Instant::now());
        }
        answer.map_err(Arc::new)
    }

    async fn turn(&self) -> Result<Option<MutexGuard<'_, ()>>, upstream::Error> {
        let turn = match self.admission() {
            Admission::Ask => return Ok(None),
            Admission::Wait(error) => return Err(error),
            Admission::AskFirst => self.first.lock().await,
        };
        match self.admission() {
            Admission::Ask => Ok(None),
            Admission::Wait(error) => Err(error),
            Admission::AskFirst => Ok(Some(turn)),
        }
    }

    fn admission(&self) -> Admission {
        let (health, now) = (self.health.lock(), Instant::now());
        match &health.busy {
            Some(busy) if busy.said && busy.until > now => Admission::Wait(busy.refusal(now)),
            Some(busy) if busy.said => Admission::AskFirst,
            _ => Admission::Ask,
        }
    }

    /// Returns the error for a request for a blob if the upstream must not be asked now.
    pub(in crate::registry) fn refuses_blobs(&self) -> Option<upstream::Error> {
        let (health, now) = (self.health.lock(), Instant::now());
        let busy = health.busy.as_ref().filter(|busy| busy.blobs && busy.said && busy.until > now)?;
        Some(busy.refusal(now))
    }

    /// Updates the health from the result of a request for a blob.
    pub(in crate::registry) fn learn_of_blob(&self, error: Option<&upstream::Error>) {
        self.learn(error);
        if matches!(error, Some(upstream::Error::RateLimited { .. })) {
            self.health.lock().busy.iter_mut().for_each(|busy| busy.blobs = true);
        }
    }

    /// Updates the health from the result of a request.
    fn learn(&self, error: Option<&upstream::Error>) {
        // The request was not sent.
        if matches!(error, Some(upstream::Error::ConcurrencyLimit)) {
            return;
        }
        let mut health = self.health.lock();
        let was_down = health.down.is_some();
        health.learn(error, Instant::now());
        let is_down = health.down.is_some();
        drop(health);
        match (was_down, is_down) {
            (false, true) => {
                tracing::warn!(upstream = %self.remote.domain(), "upstream unreachable; serving cached content");
            }
            (true, false) => tracing::info!(upstream = %self.remote.domain(), "upstream reachable again"),
            _ => {}
        }
        if let Some(upstream::Error::RateLimited { retry_after: Some(wait), .. }) = error {
            let (upstream, seconds) = (self.remote.domain(), wait.as_secs());
            tracing::warn!(%upstream, seconds, "upstream answered 429; not asked again for this time");
        }
    }

    /// Returns whether the last request found the upstream unreachable.
    pub(in crate::registry) fn is_down(&self) -> bool {
        self.health.lock().down.is_some()
    }

    /// Returns whether a cached answer should be used without asking.
    pub(in crate::registry) fn is_resting(&self) -> bool {
        let health = self.health.lock();
        health.down.is_some() || health.busy.as_ref().is_some_and(|busy| busy.until > Instant::now())
    }

    /// Decides between asking and the cache, and appoints this caller to probe if a probe is due.
    pub(in crate::registry) fn availability(&self) -> Availability {
        let (mut health, now) = (self.health.lock(), Instant::now());
        let Health { down, busy } = &mut *health;
        let probe_at = match (down, busy) {
            (Some(probe_at), _) => probe_at,
            (None, Some(busy)) if busy.until > now => return Availability::Unavailable,
            (None, Some(busy)) if busy.said => &mut busy.probe_at,
            _ => return Availability::Ask,
        };
        if *probe_at > now {
            return Availability::Unavailable;
        }
        *probe_at = now + RETRY_AFTER;
        Availability::Probe
    }
}

impl Health {
    fn learn(&mut self, error: Option<&upstream::Error>, now: Instant) {
        let is_down = error.is_some_and(upstream::Error::is_unreachable);
        self.down = is_down.then_some(now + RETRY_AFTER);
        match error {
            Some(upstream::Error::RateLimited { retry_after, message }) => self.busy_for(*retry_after, message, now),
            _ if self.busy.as_ref().is_some_and(|busy| !busy.said) => self.busy = None,
            _ => {}
        }
    }

    fn busy_for(&mut self, wait: Option<Duration>, message: &str, now: Instant) {
        let until = now + wait.map_or(RETRY_AFTER, |wait| wait + spread(wait));
        let before = self.busy.take();
        // Requests in parallel may have got other times: the longest counts.
        let until = before.as_ref().map_or(until, |busy| busy.until.max(until));
        let said = wait.is_some() || before.as_ref().is_some_and(|busy| busy.said && busy.until > now);
        let blobs = before.is_some_and(|busy| busy.blobs && busy.until > now);
        self.busy = Some(Busy { until, probe_at: until, said, blobs, message: message.to_owned() });
    }

    /// Ends the state after a 429 once its time is over and another answer has arrived.
    fn end_busy(&mut self, now: Instant) {
        self.busy.take_if(|busy| busy.until <= now);
    }
}

impl Busy {
    /// Returns a 429 with the remaining time, spread.
    fn refusal(&self, now: Instant) -> upstream::Error {
        let availability = self.until.saturating_duration_since(now);
        // Rounded up to whole seconds.
        let retry_after = Some(availability + Duration::from_secs(1) + spread(availability));
        upstream::Error::RateLimited { retry_after, message: self.message.clone() }
    }
}

/// Returns a random part of a tenth of `wait`.
fn spread(wait: Duration) -> Duration {
    let chance = u32::try_from(RandomState::new().hash_one(()) & 0xff).unwrap_or_default();
    (wait / 10).min(RETRY_JITTER) * chance / 0x100
}

/// The way to use an upstream while a cached answer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Availability {
    /// Ask it and wait.
    Ask,
    /// Do not ask: answer from the cache.
    Unavailable,
    /// Answer from the cache, and ask in the background.
    Probe,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_many(seconds: u64) -> upstream::Error {
        upstream::Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)), message: String::new() }
    }

    #[test]
    fn the_time_that_was_said_is_kept_to() {
        let (mut health, now) = (Health::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        health.learn(Some(&too_many(100)), now);
        health.learn(Some(&too_many(10)), after(1));
        health.learn(None, after(2));
        health.learn(Some(&upstream::Error::Unreachable(String::new())), after(3));
        health.end_busy(after(99));
        let busy = health.busy.as_ref().unwrap();
        assert!((after(100)..=after(110)).contains(&busy.until));
        let upstream::Error::RateLimited { retry_after: Some(availability), .. } = busy.refusal(after(50)) else {
            panic!()
        };
        assert!((51..=67).contains(&availability.as_secs()), "{availability:?}");
        health.end_busy(after(111));
        assert!(health.busy.is_none());
    }

    #[test]
    fn without_a_time_an_answer_ends_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        let said = upstream::Error::RateLimited { retry_after: None, message: String::new() };
        health.learn(Some(&said), now);
        assert!(health.busy.as_ref().is_some_and(|busy| !busy.said));
        health.learn(None, now);
        assert!(health.busy.is_none());
    }
}
