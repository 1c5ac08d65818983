//! One endpoint of an upstream, a URL with an account, and its health: a circuit breaker that decides if requests are
//! sent to it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use super::pull_budget;
use crate::upstream::{self, Remote};

/// The total time for a small request, with token and redirects. After it, the upstream counts as unreachable.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for which an upstream is not asked while cached answers serve, after it was unreachable or sent a 429
/// without a time. After that, one request probes it in the background, while the others use the cache.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The most that the end of a `Retry-After` time is spread by, so that waiting requests do not arrive at once.
const RETRY_JITTER: Duration = Duration::from_secs(10);

/// An endpoint with its health.
#[derive(Clone)]
pub(in crate::registry) struct Endpoint {
    pub(in crate::registry) remote: Remote,
    /// It is the upstream itself, not a mirror of it.
    pub(in crate::registry) is_itself: bool,
    health: Arc<Mutex<Health>>,
    /// Held by the one request that is sent at the end of a `Retry-After` time.
    first: Arc<AsyncMutex<()>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.remote.base().as_str())
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

impl Endpoint {
    pub(in crate::registry) fn new(remote: Remote, is_itself: bool) -> Self {
        Self { remote, is_itself, health: Arc::default(), first: Arc::default() }
    }

    /// Returns whether another endpoint may answer in its place. Only the upstream itself can say that it does not have
    /// something, or that it denies it.
    pub(in crate::registry) fn may_be_replaced(&self, error: &upstream::Error) -> bool {
        match error {
            upstream::Error::RateLimited { .. } | upstream::Error::ConcurrencyLimit => true,
            // They are about this account, and another may be accepted.
            upstream::Error::Login(_) | upstream::Error::Token(_) => true,
            upstream::Error::Status { code, .. } => *code >= 500 || !self.is_itself,
            upstream::Error::NotFound | upstream::Error::Denied(_) => !self.is_itself,
            error => error.is_unreachable() || !self.is_itself,
        }
    }

    /// Returns the failure to tell after this endpoint's: the upstream's own, or else the first.
    pub(in crate::registry) fn failure_to_tell<E>(&self, before: Option<E>, error: E) -> Option<E> {
        before.filter(|_| !self.is_itself).or(Some(error))
    }

    /// Returns what is left of its pull limit, in thousandths; `None` if it has none.
    pub(in crate::registry) fn remaining_pulls(&self) -> Option<u64> {
        self.remote.pull_rate_limit(pull_budget::remaining)
    }

    /// Sends a small request, with the timeout [`ASK_TIMEOUT`] or a shorter one, and updates the health from its result.
    /// After a 429 with a `Retry-After`, no request is sent before that time; then one is sent, and the others wait for
    /// its result.
    pub(in crate::registry) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, upstream::Error>>,
        patience: Option<Duration>,
    ) -> Result<T, Arc<upstream::Error>> {
        let _first = self.turn().await?;
        let answer = within(patience.unwrap_or(ASK_TIMEOUT), request).await;
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

    /// Sends a small request about a blob, with the timeout [`ASK_TIMEOUT`], unless it refuses blobs now.
    pub(in crate::registry) async fn ask_of_blob<T>(
        &self,
        request: impl Future<Output = Result<T, upstream::Error>>,
    ) -> Result<T, upstream::Error> {
        if let Some(refusal) = self.refuses_blobs() {
            return Err(refusal);
        }
        let answer = within(ASK_TIMEOUT, request).await;
        self.learn_of_blob(answer.as_ref().err());
        answer
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
                tracing::warn!(upstream = %self.remote.domain(), url = %self.remote.base(), "upstream unreachable; serving cached content");
            }
            (true, false) => {
                tracing::info!(upstream = %self.remote.domain(), url = %self.remote.base(), "upstream reachable again");
            }
            _ => {}
        }
        if let Some(upstream::Error::RateLimited { retry_after, message }) = error {
            self.log_rate_limit(*retry_after, message);
        }
    }

    fn log_rate_limit(&self, retry_after: Option<Duration>, message: &str) {
        let (upstream, account) = (self.remote.domain(), self.remote.username());
        let source = self.remote.pull_rate_limit(|limit, _| limit.source.clone()).flatten();
        let seconds = retry_after.map(|wait| wait.as_secs());
        let effect = match retry_after {
            Some(_) => "not asked again for this time, and then by one request",
            None => "what is cached is served without asking for a while",
        };
        tracing::warn!(%upstream, account, source, seconds, message, "upstream answered 429; {effect}");
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

    /// Returns the way to use it. A probe that is due is left to [`Endpoint::take_probe`].
    pub(in crate::registry) fn availability(&self) -> Availability {
        self.health.lock().availability(Instant::now()).0
    }

    /// Appoints this caller to probe, if a probe is due that no other caller has taken.
    pub(in crate::registry) fn take_probe(&self) -> bool {
        let mut health = self.health.lock();
        let (Availability::Probe, Some(probe_at)) = health.availability(Instant::now()) else { return false };
        *probe_at = Instant::now() + RETRY_AFTER;
        true
    }

    /// Returns whether it can be asked like any other.
    pub(in crate::registry) fn is_healthy(&self) -> bool {
        self.availability() == Availability::Ask
    }
}

impl Health {
    /// Returns the availability, and the time of the next probe where there is one.
    fn availability(&mut self, now: Instant) -> (Availability, Option<&mut Instant>) {
        let probe_at = match self {
            Self { down: Some(probe_at), .. } => probe_at,
            Self { busy: Some(busy), .. } if busy.until > now => return (Availability::Unavailable, None),
            Self { busy: Some(busy), .. } if busy.said => &mut busy.probe_at,
            _ => return (Availability::Ask, None),
        };
        if *probe_at > now { (Availability::Unavailable, None) } else { (Availability::Probe, Some(probe_at)) }
    }

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

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, upstream::Error>>,
) -> Result<T, upstream::Error> {
    let timed_out = Err(upstream::Error::Timeout { phase: upstream::Phase::Head });
    tokio::time::timeout(patience, request).await.unwrap_or(timed_out)
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
    use std::collections::HashSet;

    use super::*;

    fn too_many(seconds: u64) -> upstream::Error {
        upstream::Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)), message: String::new() }
    }

    /// Returns the time that a client is told to wait.
    fn told(busy: &Busy, now: Instant) -> Duration {
        let upstream::Error::RateLimited { retry_after: Some(wait), .. } = busy.refusal(now) else { panic!() };
        wait
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
        assert!((51..=67).contains(&told(busy, after(50)).as_secs()), "{busy:?}");
        health.end_busy(after(111));
        assert!(health.busy.is_none());
    }

    /// Clients that are refused at the same moment come back at different ones.
    #[test]
    fn refusals_are_spread() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.learn(Some(&too_many(100)), now);
        let busy = health.busy.as_ref().unwrap();
        let times: HashSet<_> = (0..20).map(|_| told(busy, now)).collect();
        assert!(times.len() > 1, "all are told {times:?}");
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
