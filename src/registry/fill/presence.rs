//! Asks an upstream if it has a repository, once for each name, and caches the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::upstream::Upstream;
use crate::{oci::RepositoryName, registry::store::single_flight::SingleFlight, upstream};

/// The time that a push waits for the upstream's answer.
pub(in crate::registry) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Concurrent requests about names. The limit leaves connections for pulls.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// The capacity of the cache.
const MAX_ENTRIES: u64 = 10_000;
/// The time for which an answer is cached.
const ANSWER_TTL: Duration = Duration::from_secs(600);

/// The time for which a missing answer is cached; clients are asked to retry after it.
pub(in crate::registry) const NO_ANSWER_TTL: Duration = Duration::from_secs(10);

/// The query that lists one tag. Such a request does not count against pull limits.
const ONE_TAG_QUERY: &str = "n=1";

/// The answer of an upstream about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Presence {
    Present,
    Absent,
    /// There was no usable answer.
    Unknown,
}

/// The requests about names that are not claimed, with their cached answers.
#[derive(Debug)]
pub(in crate::registry) struct PresenceChecks {
    pub(in crate::registry) under_way: SingleFlight<RepositoryName, Presence>,
    pub(in crate::registry) answers: Cache<RepositoryName, (Presence, Instant)>,
    pub(in crate::registry) permits: Arc<Semaphore>,
}

impl PresenceChecks {
    pub(in crate::registry) fn new(tasks: Handle) -> Self {
        let answers = Cache::builder().max_capacity(MAX_ENTRIES).time_to_live(ANSWER_TTL).build();
        Self {
            under_way: SingleFlight::new(tasks),
            answers,
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)),
        }
    }

    pub(in crate::registry) fn answer(&self, name: &RepositoryName) -> Option<Presence> {
        let (presence, at) = self.answers.get(name)?;
        (presence != Presence::Unknown || at.elapsed() < NO_ANSWER_TTL).then_some(presence)
    }

    pub(in crate::registry) fn forget(&self, name: &RepositoryName) {
        self.answers.invalidate(name);
    }

    /// Asks the upstream and caches the answer. If no permit is free in time, the result is `Unknown` and is not
    /// cached.
    pub(in crate::registry) fn check(
        &self,
        upstream: &Upstream,
        name: &RepositoryName,
    ) -> impl Future<Output = Presence> + Send + 'static {
        let (upstream, name, answers) = (upstream.clone(), name.clone(), self.answers.clone());
        let permits = Arc::clone(&self.permits);
        async move {
            let Ok(Ok(_permit)) = timeout(ANSWER_TIMEOUT, permits.acquire_owned()).await else {
                return Presence::Unknown;
            };
            let presence = presence(&upstream, &name).await;
            answers.insert(name, (presence, Instant::now()));
            presence
        }
    }
}

/// Asks an upstream if it has a repository. A private one counts as absent, since it is not mirrored.
pub(in crate::registry) async fn presence(upstream: &Upstream, name: &RepositoryName) -> Presence {
    match upstream.ask(|remote, threads| async move { remote.tags(&threads, name, ONE_TAG_QUERY).await }).await {
        Ok(page) if is_list(&page.bytes) => Presence::Present,
        Err(error) if matches!(*error, upstream::Error::NotFound | upstream::Error::Denied(_)) => Presence::Absent,
        Ok(_) => {
            tracing::warn!(repository = %name, "the response is no list of tags, and probably not the upstream's");
            Presence::Unknown
        }
        Err(error) => {
            tracing::debug!(repository = %name, %error, "the upstream does not say whether it has the repository");
            Presence::Unknown
        }
    }
}

/// Returns whether a body is a tag list (distribution-spec, "Listing Tags"). A captive portal answers 200, too.
fn is_list(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|list| list.get("tags").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_s_page_is_no_list() {
        for list in [r#"{"name":"a","tags":["1"]}"#, r#"{"name":"a","tags":null}"#, r#"{"tags":[]}"#] {
            assert!(is_list(list.as_bytes()), "{list}");
        }
        for other in ["<html>", "", "[]", "{}", r#""tags""#] {
            assert!(!is_list(other.as_bytes()), "{other}");
        }
    }
}
