//! An upstream registry as the registry uses it: its endpoints in the order in which they are asked, and the operator's
//! rules for it.
//!
//! The endpoints of the first URL are the upstream itself, one for each account there. The others are its mirrors. Only
//! the upstream itself can say that it does not have something: a mirror's 404 is no answer.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    endpoint::{Endpoint, ReportedFailure},
    endpoint_health::Availability,
    pull_budget::{self, GovernorSettings, WHOLE},
};
use crate::{
    metrics::Metrics,
    oci::{Digest, Domain, NamePattern, Reference, RepositoryName},
    upstream::{self, ClientThreads, ManifestHead, Remote},
};

/// The time that an endpoint which failed before may take while another can be asked after it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// An upstream to mirror.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its name in image references.
    pub domain: Domain,
    /// Its endpoints, those of the upstream itself first: one for each account, then its mirrors. At least one.
    pub remotes: Vec<Remote>,
    /// The time for which a tag is served without asking.
    pub freshness: Duration,
    /// The rate governor.
    pub governor: GovernorSettings,
    /// The time after which unused content is removed; zero: never.
    pub ttl: Duration,
    /// The repositories that are mirrored; all if empty.
    pub allow: Vec<NamePattern>,
    /// The repositories that are not mirrored.
    pub deny: Vec<NamePattern>,
}

/// An upstream with the health of its endpoints. Cheap to clone.
#[derive(Clone)]
pub(in crate::registry) struct Upstream(Arc<UpstreamInner>);

/// The fields that are not explained here are those of [`UpstreamSettings`].
struct UpstreamInner {
    domain: Domain,
    endpoints: Vec<Endpoint>,
    freshness: Duration,
    governor: GovernorSettings,
    ttl: Duration,
    allow: Vec<NamePattern>,
    deny: Vec<NamePattern>,
    threads: ClientThreads,
    metrics: Arc<Metrics>,
    /// Permits to split fetches, which all upstreams share: segments wait in memory.
    splits: Arc<Semaphore>,
    /// The next look at a budget that is at its reserve.
    next_look: Mutex<Instant>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("domain", self.domain()).field("endpoints", &self.0.endpoints).finish()
    }
}

impl Upstream {
    pub(in crate::registry) fn new(
        settings: UpstreamSettings,
        threads: ClientThreads,
        metrics: Arc<Metrics>,
        splits: Arc<Semaphore>,
    ) -> Self {
        let UpstreamSettings { domain, remotes, freshness, governor, ttl, allow, deny } = settings;
        metrics.add_upstream(&domain);
        let itself = remotes.first().map(|remote| remote.base().clone());
        let endpoint = |remote: Remote| {
            let is_itself = itself.as_ref() == Some(remote.base());
            Endpoint::new(remote, is_itself)
        };
        let endpoints = remotes.into_iter().map(endpoint).collect();
        let next_look = Mutex::new(Instant::now());
        Self(Arc::new(UpstreamInner {
            domain,
            endpoints,
            freshness,
            governor,
            ttl,
            allow,
            deny,
            threads,
            metrics,
            splits,
            next_look,
        }))
    }

    pub(in crate::registry) fn domain(&self) -> &Domain {
        &self.0.domain
    }

    pub(in crate::registry) fn threads(&self) -> &ClientThreads {
        &self.0.threads
    }

    pub(in crate::registry) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(in crate::registry) fn endpoints(&self) -> &[Endpoint] {
        &self.0.endpoints
    }

    /// Returns the configured time for which a tag or a list is served without asking; [`Upstream::freshness`] is at
    /// least as long.
    pub(in crate::registry) fn configured_freshness(&self) -> Duration {
        self.0.freshness
    }

    /// Returns whether a cached list should be used without asking. Pull limits do not count lists.
    pub(in crate::registry) fn is_resting_for_lists(&self) -> bool {
        self.endpoints().iter().all(Endpoint::is_resting)
    }

    /// Returns the time for which a tag is served without asking: longer as the pull limit is used up.
    pub(in crate::registry) fn freshness(&self) -> Duration {
        let UpstreamInner { freshness, governor, .. } = &*self.0;
        self.remaining_pulls().map_or(*freshness, |remaining| governor.freshness(*freshness, remaining))
    }

    /// Returns what is left of the pull limit, in thousandths, of the account that has most; `None` if one has no
    /// limit.
    fn remaining_pulls(&self) -> Option<u64> {
        let itself = self.endpoints().iter().filter(|endpoint| endpoint.is_itself);
        itself.map(Endpoint::remaining_pulls).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Returns whether the rest of the pull limit is kept for what is not cached.
    fn is_at_reserve(&self) -> bool {
        self.remaining_pulls().is_some_and(|remaining| self.0.governor.is_at_reserve(remaining))
    }

    /// Appoints one caller in a while to look whether more is left. A HEAD does that and is not counted.
    fn may_look(&self) -> bool {
        let window =
            self.endpoints().iter().find_map(|endpoint| endpoint.remote.pull_rate_limit(|limit, _| limit.window)?);
        let (mut next, now) = (self.0.next_look.lock(), Instant::now());
        let is_due = *next <= now;
        if is_due {
            *next = now + pull_budget::probe_interval(window);
        }
        is_due
    }

    pub(in crate::registry) fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Returns a permit to split a fetch, if one is free and the endpoint that the segments ask first serves ranges.
    pub(in crate::registry) fn permit_to_split(&self) -> Option<OwnedSemaphorePermit> {
        let may_split = self.for_blobs().first().is_some_and(|endpoint| !endpoint.ignores_ranges());
        may_split.then(|| Arc::clone(&self.0.splits).try_acquire_owned().ok())?
    }

    /// Returns whether the operator lets a repository be mirrored.
    pub(in crate::registry) fn serves(&self, name: &RepositoryName) -> bool {
        let UpstreamInner { allow, deny, .. } = &*self.0;
        let matches = |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (allow.is_empty() || matches(allow)) && !matches(deny)
    }

    /// Sends a small request to the first endpoint that answers it, and updates the health of each that is asked.
    pub(in crate::registry) async fn ask<T, F, Fut>(&self, request: F) -> Result<T, Arc<upstream::Error>>
    where
        F: Fn(Remote, ClientThreads) -> Fut,
        Fut: Future<Output = Result<T, upstream::Error>>,
    {
        let mut failure = ReportedFailure::default();
        let mut turns = VecDeque::from(self.turns());
        while let Some(Turn { endpoint, is_probe }) = turns.pop_front() {
            let is_last = turns.is_empty();
            if is_probe && !endpoint.take_probe() && !is_last {
                // Another request probes it.
                turns.push_back(Turn { endpoint, is_probe: false });
                continue;
            }
            let request = request(endpoint.remote.clone(), self.threads().clone());
            let patience = (!is_last && !endpoint.is_healthy()).then_some(PROBE_TIMEOUT);
            match endpoint.ask(request, patience).await {
                Err(error) if endpoint.may_be_replaced(&error) => failure.add(endpoint, error),
                answer => return answer,
            }
        }
        Err(failure.take().unwrap_or_else(|| Arc::new(no_endpoint())))
    }

    /// Asks for the digest, type and size of a manifest.
    pub(in crate::registry) async fn head_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, Arc<upstream::Error>> {
        self.ask(|remote, threads| async move { remote.head_manifest(&threads, name, reference).await }).await
    }

    /// Asks for the size of a blob. Like a download, it does not wait for a limit on manifests to end.
    pub(in crate::registry) async fn blob_size(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<u64, Arc<upstream::Error>> {
        let mut failure = ReportedFailure::default();
        for endpoint in self.for_blobs() {
            let size = endpoint.remote.blob_size(self.threads(), name, digest);
            match endpoint.ask_of_blob(size).await {
                Err(error) if endpoint.may_be_replaced(&error) => failure.add(&endpoint, error),
                answer => return answer.map_err(Arc::new),
            }
        }
        Err(Arc::new(failure.take().unwrap_or_else(no_endpoint)))
    }

    /// Returns the endpoints in the order in which a request for a blob tries them: those that failed, and accounts
    /// that were refused, last. It probes none, since a blob's timeouts are long.
    pub(in crate::registry) fn for_blobs(&self) -> Vec<Endpoint> {
        let mut endpoints = self.endpoints().to_vec();
        endpoints
            .sort_by_key(|endpoint| (endpoint.is_down() || endpoint.refuses_blobs().is_some(), endpoint.is_refused()));
        endpoints
    }

    /// Returns the endpoints in the order in which a request tries them: the healthy ones first, of those the accounts
    /// that were not refused, of those the upstream itself, and of its accounts the one with the most pulls left.
    fn turns<'a>(&'a self) -> Vec<Turn<'a>> {
        let turn = |endpoint: &'a Endpoint| match endpoint.availability() {
            // One request in a while tries whether it is back, in its usual place.
            Availability::Probe => (0, Turn { endpoint, is_probe: true }),
            Availability::Ask => (0, Turn { endpoint, is_probe: false }),
            Availability::Unavailable => (1, Turn { endpoint, is_probe: false }),
        };
        let mut turns: Vec<_> = self.endpoints().iter().map(turn).collect();
        let used = |endpoint: &Endpoint| match endpoint.is_itself {
            true => endpoint.remaining_pulls().map_or(0, |remaining| WHOLE - remaining),
            false => 0,
        };
        turns.sort_by_key(|(rank, Turn { endpoint, .. })| {
            (*rank, endpoint.is_refused(), !endpoint.is_itself, used(endpoint))
        });
        turns.into_iter().map(|(_, turn)| turn).collect()
    }

    /// Returns whether the last requests found every endpoint unreachable.
    pub(in crate::registry) fn is_down(&self) -> bool {
        self.endpoints().iter().all(Endpoint::is_down)
    }

    /// Returns whether a cached answer should be used without asking.
    pub(in crate::registry) fn is_resting(&self) -> bool {
        self.is_at_reserve() || self.is_resting_for_lists()
    }

    /// Decides between asking and the cache, and appoints this caller to probe if a probe is due.
    pub(in crate::registry) fn availability(&self) -> Availability {
        if self.endpoints().iter().any(Endpoint::is_healthy) {
            return match self.is_at_reserve() {
                false => Availability::Ask,
                true if self.may_look() => Availability::Probe,
                true => Availability::Unavailable,
            };
        }
        // One caller takes all probes that are due, and asks the endpoints in turn until one answers. Those after it
        // are probed again when their next probes are due: until then, the one that answered is asked.
        let taken = self.endpoints().iter().filter(|endpoint| endpoint.take_probe()).count();
        if taken > 0 { Availability::Probe } else { Availability::Unavailable }
    }
}

fn no_endpoint() -> upstream::Error {
    upstream::Error::Setting("no endpoint is configured".into())
}

/// An endpoint's turn.
struct Turn<'a> {
    endpoint: &'a Endpoint,
    /// It failed before, and a probe whether it is back is due.
    is_probe: bool,
}
