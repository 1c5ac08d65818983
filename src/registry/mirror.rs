//! One upstream, and whether it is worth asking now.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    metrics::Metrics,
    upstream::{self, Pool, Remote},
};

/// How long a small request may take altogether: token, redirects and all. Then it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an upstream that could not be reached, or that asked for patience, is left alone where a cached answer will
/// do. After that one request asks, in the background, while the others go on with what is cached.
const REST: Duration = Duration::from_secs(30);

/// An upstream with its health.
#[derive(Clone)]
pub(super) struct Mirror {
    pub(super) remote: Remote,
    pub(super) pool: Pool,
    pub(super) metrics: Arc<Metrics>,
    health: Arc<Mutex<Health>>,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("domain", self.remote.domain())
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    /// Could not be reached.
    Down {
        probe_at: Instant,
    },
    /// Said 429.
    Busy {
        until: Instant,
    },
}

impl Mirror {
    pub(super) fn new(remote: Remote, pool: Pool, metrics: Arc<Metrics>) -> Self {
        Self { remote, pool, metrics, health: Arc::new(Mutex::new(Health::Well)) }
    }

    /// Waits for a small request, not for longer than [`PATIENCE`], and learns from how it ends.
    pub(super) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, upstream::Error>>,
    ) -> Result<T, Arc<upstream::Error>> {
        let answer = match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer,
            Err(_) => Err(upstream::Error::Timeout { phase: upstream::Phase::Head }),
        };
        self.learn(answer.as_ref().err());
        answer.map_err(Arc::new)
    }

    /// Learns from how a request ended.
    pub(super) fn learn(&self, error: Option<&upstream::Error>) {
        let now = Instant::now();
        let health = match error {
            // It was not asked.
            Some(upstream::Error::Crowded) => return,
            Some(upstream::Error::TooMany { retry_after, .. }) => {
                Health::Busy { until: now + retry_after.unwrap_or(REST).min(REST) }
            }
            Some(error) if error.is_unreachable() => Health::Down { probe_at: now + REST },
            _ => Health::Well,
        };
        let before = std::mem::replace(&mut *self.health.lock(), health);
        match (before, health) {
            (Health::Well | Health::Busy { .. }, Health::Down { .. }) => {
                tracing::warn!("{} cannot be reached; cached content is served on", self.remote.domain());
            }
            (Health::Down { .. }, Health::Well | Health::Busy { .. }) => {
                tracing::info!("{} can be reached again", self.remote.domain());
            }
            _ => {}
        }
    }

    /// Whether it could not be reached when it was last asked.
    pub(super) fn is_down(&self) -> bool {
        matches!(*self.health.lock(), Health::Down { .. })
    }

    /// Whether a cached answer will do without asking.
    pub(super) fn is_resting(&self) -> bool {
        match *self.health.lock() {
            Health::Down { .. } => true,
            Health::Busy { until } => until > Instant::now(),
            Health::Well => false,
        }
    }

    /// Whether to answer from the cache without asking, and whether this caller is the one to probe meanwhile.
    pub(super) fn rest(&self) -> Rest {
        let (mut health, now) = (self.health.lock(), Instant::now());
        match *health {
            Health::Down { probe_at } if probe_at <= now => {
                *health = Health::Down { probe_at: now + REST };
                Rest::Probe
            }
            Health::Down { .. } => Rest::Leave,
            Health::Busy { until } if until > now => Rest::Leave,
            Health::Well | Health::Busy { .. } => Rest::Ask,
        }
    }
}

/// What to do about an upstream where a cached answer would serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Ask it and wait.
    Ask,
    /// Do not ask: answer from the cache.
    Leave,
    /// Answer from the cache, and ask in the background whether it is back.
    Probe,
}
