//! One upstream, and whether it is worth asking now.

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
    upstream::{self, Pool, Remote},
};

/// How long a small request may take altogether: token, redirects and all. Then it counts as unreachable.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an upstream that could not be reached, or that asked for patience
/// without saying how long, is left alone where a cached answer will do. After that
/// one request asks, in the background, while the others go on with what is cached.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// By how much, at the most, the end of a time that an upstream said is spread: what waits for it is not to come at
/// once.
const SPREAD: Duration = Duration::from_secs(10);

/// An upstream with its health.
#[derive(Clone)]
pub(in crate::registry) struct UpstreamHealth {
    pub(in crate::registry) remote: Remote,
    pub(in crate::registry) pool: Pool,
    pub(in crate::registry) metrics: Arc<Metrics>,
    health: Arc<Mutex<Health>>,
    /// Held by the one question that is asked when the time is over that the upstream said.
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
    /// Could not be reached; when to probe it.
    down: Option<Instant>,
    /// Said 429.
    busy: Option<Busy>,
}

#[derive(Debug)]
struct Busy {
    until: Instant,
    /// After that: when to probe it for the sake of what is cached.
    probe_at: Instant,
    /// Whether the upstream said how long.
    said: bool,
    /// Whether it said so to a request for a blob: limits of pulls are about manifests alone.
    blobs: bool,
    message: String,
}

/// Whether a question may be asked.
enum Admission {
    Ask,
    /// As the first one after the time that the upstream said.
    AskFirst,
    Wait(upstream::Error),
}

impl UpstreamHealth {
    pub(in crate::registry) fn new(remote: Remote, pool: Pool, metrics: Arc<Metrics>) -> Self {
        Self { remote, pool, metrics, health: Arc::default(), first: Arc::default() }
    }

    /// Waits for a small request, not for longer than [`ASK_TIMEOUT`], and learns from how it ends. An upstream that
    /// said 429, and how long, is not asked before; then one request asks, and the others wait for what it hears.
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
        if !matches!(answer, Err(upstream::Error::Crowded)) {
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

    /// Why the upstream is not to be asked for a blob now.
    pub(in crate::registry) fn refuses_blobs(&self) -> Option<upstream::Error> {
        let (health, now) = (self.health.lock(), Instant::now());
        let busy = health.busy.as_ref().filter(|busy| busy.blobs && busy.said && busy.until > now)?;
        Some(busy.refusal(now))
    }

    /// Learns from how a request for a blob ended.
    pub(in crate::registry) fn learn_of_blob(&self, error: Option<&upstream::Error>) {
        self.learn(error);
        if matches!(error, Some(upstream::Error::TooMany { .. })) {
            self.health.lock().busy.iter_mut().for_each(|busy| busy.blobs = true);
        }
    }

    /// Learns from how a request ended.
    fn learn(&self, error: Option<&upstream::Error>) {
        // It was not asked.
        if matches!(error, Some(upstream::Error::Crowded)) {
            return;
        }
        let mut health = self.health.lock();
        let was_down = health.down.is_some();
        health.learn(error, Instant::now());
        let is_down = health.down.is_some();
        drop(health);
        match (was_down, is_down) {
            (false, true) => tracing::warn!("{} cannot be reached; cached content is served on", self.remote.domain()),
            (true, false) => tracing::info!("{} can be reached again", self.remote.domain()),
            _ => {}
        }
        if let Some(upstream::Error::TooMany { retry_after: Some(wait), .. }) = error {
            tracing::warn!("{} said 429, and is not asked again for {} s", self.remote.domain(), wait.as_secs());
        }
    }

    /// Whether it could not be reached when it was last asked.
    pub(in crate::registry) fn is_down(&self) -> bool {
        self.health.lock().down.is_some()
    }

    /// Whether a cached answer will do without asking.
    pub(in crate::registry) fn is_resting(&self) -> bool {
        let health = self.health.lock();
        health.down.is_some() || health.busy.as_ref().is_some_and(|busy| busy.until > Instant::now())
    }

    /// Whether to answer from the cache without asking, and whether this caller is the one to probe meanwhile.
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
            Some(upstream::Error::TooMany { retry_after, message }) => self.busy_for(*retry_after, message, now),
            _ if self.busy.as_ref().is_some_and(|busy| !busy.said) => self.busy = None,
            _ => {}
        }
    }

    fn busy_for(&mut self, wait: Option<Duration>, message: &str, now: Instant) {
        let until = now + wait.map_or(RETRY_AFTER, |wait| wait + spread(wait));
        let before = self.busy.take();
        // Others may have been asked meanwhile: the longest time counts.
        let until = before.as_ref().map_or(until, |busy| busy.until.max(until));
        let said = wait.is_some() || before.as_ref().is_some_and(|busy| busy.said && busy.until > now);
        let blobs = before.is_some_and(|busy| busy.blobs && busy.until > now);
        self.busy = Some(Busy { until, probe_at: until, said, blobs, message: message.to_owned() });
    }

    /// The time is over that the upstream said, and a question was answered otherwise than by another.
    fn end_busy(&mut self, now: Instant) {
        self.busy.take_if(|busy| busy.until <= now);
    }
}

impl Busy {
    /// What the upstream would say: the rest of the time, spread.
    fn refusal(&self, now: Instant) -> upstream::Error {
        let availability = self.until.saturating_duration_since(now);
        // Whole seconds are told, and not too few.
        let retry_after = Some(availability + Duration::from_secs(1) + spread(availability));
        upstream::Error::TooMany { retry_after, message: self.message.clone() }
    }
}

/// Some time, up to a tenth of `wait`, by chance.
fn spread(wait: Duration) -> Duration {
    let chance = u32::try_from(RandomState::new().hash_one(()) & 0xff).unwrap_or_default();
    (wait / 10).min(SPREAD) * chance / 0x100
}

/// What to do about an upstream where a cached answer would serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Availability {
    /// Ask it and wait.
    Ask,
    /// Do not ask: answer from the cache.
    Unavailable,
    /// Answer from the cache, and ask in the background whether it is back.
    Probe,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_many(seconds: u64) -> upstream::Error {
        upstream::Error::TooMany { retry_after: Some(Duration::from_secs(seconds)), message: String::new() }
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
        let upstream::Error::TooMany { retry_after: Some(availability), .. } = busy.refusal(after(50)) else {
            panic!()
        };
        assert!((51..=67).contains(&availability.as_secs()), "{availability:?}");
        health.end_busy(after(111));
        assert!(health.busy.is_none());
    }

    #[test]
    fn without_a_time_an_answer_ends_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        let said = upstream::Error::TooMany { retry_after: None, message: String::new() };
        health.learn(Some(&said), now);
        assert!(health.busy.as_ref().is_some_and(|busy| !busy.said));
        health.learn(None, now);
        assert!(health.busy.is_none());
    }
}
