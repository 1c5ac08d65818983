//! One endpoint of an upstream, a URL with an account: its health decides if requests are sent to it, and learns from
//! their results.

use std::{
    borrow::Borrow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use super::{
    endpoint_health::{Availability, Health, REFUSED_REST, RETRY_AFTER},
    pull_budget,
};
use crate::upstream::{self, Remote};

/// The total time for a small request, with token and redirects. After it, the upstream counts as unreachable.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// An endpoint with its health.
#[derive(Clone)]
pub(in crate::registry) struct Endpoint {
    pub(in crate::registry) remote: Remote,
    /// It is the upstream itself, not a mirror of it.
    pub(in crate::registry) is_itself: bool,
    health: Arc<Mutex<Health>>,
    /// Held by the one request that is sent at the end of a `Retry-After` time.
    first: Arc<AsyncMutex<()>>,
    /// It answered a range with the whole blob.
    ignores_ranges: Arc<AtomicBool>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.remote.base().as_str())
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// The failure that a request reports after all endpoints that it tried have failed: that of the upstream itself rather
/// than a mirror's, and of the upstream itself one that is not about the account only, since a refused account says
/// nothing of the content.
pub(in crate::registry) struct ReportedFailure<E>(Option<(FailureRank, E)>);

/// The source of a failure, least worth reporting first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FailureRank {
    Mirror,
    AccountOfUpstream,
    Upstream,
}

impl<E> Default for ReportedFailure<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E: Borrow<upstream::Error>> ReportedFailure<E> {
    /// Adds the failure of an endpoint. Of several of the upstream itself the last is reported, of mirrors the first.
    pub(in crate::registry) fn add(&mut self, endpoint: &Endpoint, error: E) {
        let rank = match error.borrow() {
            _ if !endpoint.is_itself => FailureRank::Mirror,
            upstream::Error::Login(_) | upstream::Error::Token(_) => FailureRank::AccountOfUpstream,
            _ => FailureRank::Upstream,
        };
        match &self.0 {
            Some((before, _)) if rank < *before || rank == FailureRank::Mirror => {}
            _ => self.0 = Some((rank, error)),
        }
    }

    /// Returns the failure to report, and forgets it; `None` if none was added.
    pub(in crate::registry) fn take(&mut self) -> Option<E> {
        self.0.take().map(|(_, error)| error)
    }
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
        Self { remote, is_itself, health: Arc::default(), first: Arc::default(), ignores_ranges: Arc::default() }
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

    /// Returns what is left of its pull limit, in thousandths; `None` if it has none.
    pub(in crate::registry) fn remaining_pulls(&self) -> Option<u64> {
        self.remote.pull_rate_limit(pull_budget::remaining).flatten()
    }

    /// Sends a small request, with the timeout [`ASK_TIMEOUT`] or a shorter one, and updates the health from its
    /// result. After a 429 with a `Retry-After`, no request is sent before that time; then one is sent, and the others
    /// wait for its result.
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
        let is_refused = health.note_account(error, Instant::now());
        drop(health);
        if is_refused {
            self.log_refusal();
        }
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

    fn log_refusal(&self) {
        let (upstream, url, account) = (self.remote.domain(), self.remote.base(), self.remote.username());
        let minutes = REFUSED_REST.as_secs() / 60;
        tracing::warn!(
            %upstream, %url, account,
            "upstream refuses the account, which is asked after all others for {minutes} minutes: correct its password"
        );
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

    /// Remembers that it answered a range with the whole blob. Fetches are not split any more: each would begin again.
    pub(in crate::registry) fn note_ignored_range(&self) {
        self.ignores_ranges.store(true, Relaxed);
    }

    /// Returns whether it answered a range with the whole blob.
    pub(in crate::registry) fn ignores_ranges(&self) -> bool {
        self.ignores_ranges.load(Relaxed)
    }

    /// Returns whether its account was refused lately.
    pub(in crate::registry) fn is_refused(&self) -> bool {
        self.health.lock().refused.is_some_and(|until| until > Instant::now())
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

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, upstream::Error>>,
) -> Result<T, upstream::Error> {
    let timed_out = Err(upstream::Error::Timeout { phase: upstream::Phase::Head });
    tokio::time::timeout(patience, request).await.unwrap_or(timed_out)
}
