//! Lists that pass through from an upstream, or from memory where it cannot answer.

use crate::{
    lanes::Lane,
    oci::{MediaType, Repository},
    registry::{
        CacheStatus, Error, List, Registry,
        error::Resource,
        fill::list_cache::{Asking, ListKey},
    },
    upstream::{self, Page},
};
use std::{sync::Arc, time::Instant};

/// A list of before.
const STALE: CacheStatus = CacheStatus::Stale { superseded: false };

impl Registry {
    /// A page of a list, as its upstream gives it for `query`, which is passed on as it came.
    ///
    /// # Errors
    /// As the upstream failed, where no page of before will do.
    pub async fn list(
        self: &Arc<Self>,
        repository: &Repository,
        list: List,
        query: &str,
    ) -> Result<(Arc<Page>, CacheStatus), Error> {
        let key = (repository.clone(), list, query.to_owned());
        let kept = self.pages.kept.get(&key);
        if let Some((page, at)) = &kept {
            if at.elapsed() < self.freshness {
                return Ok((Arc::clone(page), CacheStatus::Hit));
            }
            // Lists are not probed with: whoever asks for the next tag does that.
            if self.mirror(repository)?.is_resting() {
                return Ok((Arc::clone(page), STALE));
            }
        }
        let (registry, asked) = (Arc::clone(self), key.clone());
        let work = async move { registry.list_now(&asked).await };
        let (answer, collapsed) = self.pages.flights.join(key.clone(), work).await;
        match (answer.ok_or(Error::Abandoned)?, kept) {
            (Ok(page), _) => Ok((page, CacheStatus::Miss { collapsed, kept: crate::registry::Kept::Stored })),
            (Err(error), Some((page, _))) if !matches!(*error, upstream::Error::NotFound) => {
                tracing::info!("a list of {repository} is answered from the cache: {error}");
                Ok((page, STALE))
            }
            (Err(error), _) => self.tags_on_disk(&key, &error).await,
        }
    }

    async fn list_now(&self, key: &ListKey) -> Asking {
        let (repository, list, query) = key;
        let mirror = self.mirror(repository).map_err(|error| Arc::new(upstream::Error::Protocol(error.to_string())))?;
        let asked = Instant::now();
        let answer = match list {
            List::Tags => mirror.ask(mirror.remote.tags(&mirror.pool, &repository.name, query)).await,
            List::Referrers(digest) => {
                mirror.ask(mirror.remote.referrers(&mirror.pool, &repository.name, digest, query)).await
            }
        };
        let page = Arc::new(answer?);
        self.pages.kept.insert(key.clone(), (Arc::clone(&page), asked));
        Ok(page)
    }

    /// The tags that were pulled through here, where an upstream that cannot answer was never asked for its list.
    async fn tags_on_disk(&self, key: &ListKey, error: &upstream::Error) -> Result<(Arc<Page>, CacheStatus), Error> {
        let failed = Resource::Name.failed(error);
        let (repository, List::Tags, _) = key else { return Err(failed) };
        if matches!(error, upstream::Error::NotFound) {
            return Err(failed);
        }
        let place = repository.clone();
        let look = move |store: &crate::registry::store::blob_store::BlobStore| {
            let links = store.storage.links(&place);
            let names = links.tags().map(|tagged| tagged.map(|(tag, _)| tag.to_string()));
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
