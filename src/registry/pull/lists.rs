//! Passes lists of an upstream through, or answers them from the cache if the upstream cannot.

use crate::{
    lanes::Lane,
    oci::{MediaType, Repository},
    registry::{
        CacheStatus, Error, ListKind, Registry,
        ask_error::AskError,
        error::Resource,
        fill::list_cache::{ListAnswer, ListKey},
        store::{blob_store::BlockingStore, single_flight::Joined},
    },
    storage::DurableStore,
    upstream::{ClientThreads, Page, Remote},
};
use std::{sync::Arc, time::Instant};

/// The status of a list from the cache.
const STALE: CacheStatus = CacheStatus::Stale { superseded: false };

impl Registry {
    /// Returns a page of a list from its upstream. `query` is passed on unchanged.
    ///
    /// # Errors
    /// [`Error::UpstreamFailed`], [`Error::UpstreamTimedOut`], [`Error::UnusableAnswer`], [`Error::TooManyRequests`] or
    /// [`Error::NameUnknown`] if no cached page exists.
    pub async fn list(
        self: &Arc<Self>,
        repository: &Repository,
        list: ListKind,
        query: &str,
    ) -> Result<(Arc<Page>, CacheStatus), Error> {
        let key = (repository.clone(), list, query.to_owned());
        let kept = self.pages.kept.get(&key);
        if let Some((page, at)) = &kept {
            if at.elapsed() < self.upstream(repository)?.configured_freshness() {
                return Ok((Arc::clone(page), CacheStatus::Hit));
            }
            // Lists do not probe the upstream: the next request for a tag does.
            if self.upstream(repository)?.is_resting_for_lists() {
                return Ok((Arc::clone(page), STALE));
            }
        }
        let (registry, asked) = (Arc::clone(self), key.clone());
        let work = async move { registry.list_now(&asked).await };
        let Joined { value: answer, collapsed } = self.pages.calls.join(key.clone(), work).await;
        match (answer.ok_or(Error::Panicked)?, kept) {
            (Ok(page), _) => Ok((page, CacheStatus::Miss { collapsed, kept: crate::registry::StoreResult::Stored })),
            (Err(error), Some((page, _))) if !error.is_not_found() => {
                tracing::info!(%repository, %error, "list served from the cache");
                Ok((page, STALE))
            }
            (Err(error), _) => self.tags_on_disk(&key, error).await,
        }
    }

    async fn list_now(&self, key: &ListKey) -> ListAnswer {
        let (repository, list, query) = key;
        let upstream = self.upstream(repository)?;
        let asked = Instant::now();
        let answer = match list {
            ListKind::Tags => {
                upstream
                    .ask(|remote, threads| async move { remote.tags(&threads, &repository.name, query).await })
                    .await
            }
            ListKind::Referrers(digest) => {
                let referrers = |remote: Remote, threads: ClientThreads| async move {
                    remote.referrers(&threads, &repository.name, digest, query).await
                };
                upstream.ask(referrers).await
            }
        };
        let page = Arc::new(answer?);
        self.pages.kept.insert(key.clone(), (Arc::clone(&page), asked));
        Ok(page)
    }

    /// Lists the tags that were pulled through this cache, if the upstream fails and its list is not cached.
    async fn tags_on_disk(&self, key: &ListKey, error: AskError) -> Result<(Arc<Page>, CacheStatus), Error> {
        let is_not_found = error.is_not_found();
        let failed = error.of(Resource::Name);
        let (repository, ListKind::Tags, _) = key else { return Err(failed) };
        if is_not_found {
            return Err(failed);
        }
        let place = repository.clone();
        let look = move |store: &BlockingStore<'_>| {
            let names = store.disk.tags(&place).map(|tagged| tagged.map(|(tag, _)| tag.to_string()));
            let mut tags = names.collect::<Result<Vec<_>, _>>()?;
            tags.sort_unstable();
            let body = || serde_json::json!({ "name": place.name.as_str(), "tags": tags }).to_string();
            Ok::<_, Error>((!tags.is_empty()).then(body))
        };
        let body = self.store.blocking(Lane::List, look).await??.ok_or(failed)?;
        Ok((
            Arc::new(Page {
                bytes: body.into(),
                media_type: MediaType::new("application/json"),
                link: None,
                filters: None,
            }),
            STALE,
        ))
    }
}
