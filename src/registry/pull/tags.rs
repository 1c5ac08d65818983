//! Resolves tags: asks the upstream once for all concurrent requests, and caches the answer.

use std::{sync::Arc, time::SystemTime};

use crate::{
    lanes::Lane,
    oci::{Digest, Reference, Repository, Tag},
    registry::{
        CacheStatus, Error, Head, Pulled, Registry,
        ask_error::AskError,
        error::cached_or_unknown,
        store::{
            blob_store::BlockingStore,
            manifests::StoredManifest,
            single_flight::Joined,
            tag_cache::{TagAnswer, is_later, is_younger},
        },
    },
    storage::{self, DurableStore},
};

/// A result of an upstream that several requests share.
pub(in crate::registry) type SharedAnswer<T> = Result<T, AskError>;

/// The cached manifest of a tag.
pub(in crate::registry) struct Cached {
    pub(in crate::registry) manifest: Arc<StoredManifest>,
    /// The time of the last request to the upstream that confirmed it.
    checked: SystemTime,
    /// `true` if the upstream has named a newer manifest since, which is not stored.
    superseded: bool,
}

impl Cached {
    pub(in crate::registry) fn stale(&self) -> CacheStatus {
        CacheStatus::Stale { superseded: self.superseded }
    }

    pub(in crate::registry) fn served_stale(self) -> Pulled<Arc<StoredManifest>> {
        let stale = self.stale();
        (self.manifest, stale)
    }
}

impl Registry {
    /// Asks the upstream what a tag names: one HEAD for all concurrent requests, none if the cached answer is fresh.
    /// `None` if the answer lacks the digest or the size.
    pub(in crate::registry) async fn ask_tag(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
    ) -> Joined<SharedAnswer<Option<Head>>> {
        let freshness = self.freshness(repository);
        match self.store.tag_cache.recent(&(repository.clone(), tag.clone()), freshness) {
            Some(head) => Joined { value: Ok(Some(head)), collapsed: true },
            None => self.ask_head(repository, Reference::Tag(tag.clone())).await,
        }
    }

    /// As [`Registry::ask_tag`], for any reference.
    pub(in crate::registry) async fn ask_head(
        self: &Arc<Self>,
        repository: &Repository,
        reference: Reference,
    ) -> Joined<SharedAnswer<Option<Head>>> {
        let (registry, place, asked) = (Arc::clone(self), repository.clone(), reference.clone());
        let work = async move { registry.ask_head_now(&place, &asked).await };
        self.heads.join((repository.clone(), reference), work).await.map(completed)
    }

    async fn ask_head_now(&self, repository: &Repository, reference: &Reference) -> SharedAnswer<Option<Head>> {
        let upstream = self.upstream(repository)?;
        let asked = SystemTime::now();
        let answer = upstream.head_manifest(&repository.name, reference).await;
        let answer = answer.map_err(AskError::from);
        let answer = self.note_absence(repository, reference, asked, answer).await?;
        let (Some(digest), Some(size)) = (answer.digest, answer.size) else { return Ok(None) };
        let head = Head { digest, media_type: answer.media_type, size };
        if let Reference::Tag(tag) = reference {
            self.note_tag(repository, tag, &head, asked).await;
        }
        Ok(Some(head))
    }

    /// Caches the answer to a request of the time `asked`. A stored manifest is linked at once, since clients that have
    /// it already never request it.
    async fn note_tag(&self, repository: &Repository, tag: &Tag, head: &Head, asked: SystemTime) {
        let answer = TagAnswer { head: Some(head.clone()), asked };
        if self.store.tag_cache.note(&(repository.clone(), tag.clone()), answer)
            && let Some(manifest) = cached_or_unknown(self.manifests.get(&head.digest).await)
        {
            self.manifests.store_mirrored(repository, &manifest).await;
        }
    }

    /// Drops a tag that the upstream does not have. `asked` is the time of the request.
    pub(in crate::registry) async fn note_absence<T>(
        &self,
        repository: &Repository,
        reference: &Reference,
        asked: SystemTime,
        answer: SharedAnswer<T>,
    ) -> SharedAnswer<T> {
        if let Err(error) = &answer
            && error.is_not_found()
            && let Reference::Tag(tag) = reference
            && self.store.tag_cache.note(&(repository.clone(), tag.clone()), TagAnswer { head: None, asked })
        {
            let (place, tag) = (repository.clone(), tag.clone());
            let drop_tag = move |store: &BlockingStore<'_>| store.drop_tag(&place, &tag, asked);
            if let Ok(Err(error)) = self.store.blocking(Lane::Write, drop_tag).await {
                tracing::warn!(%repository, %error, "tag deleted upstream could not be dropped");
            }
        }
        answer
    }

    /// Returns the stored manifest of a tag: the one that the upstream named last, or else the one before.
    pub(in crate::registry) async fn cached(&self, repository: &Repository, tag: &Tag) -> Option<Cached> {
        let linked = cached_or_unknown(self.tag(repository, tag).await);
        let answer = self.store.tag_cache.answer(&(repository.clone(), tag.clone()));
        let answer = answer.filter(|answer| linked.is_none_or(|(_, checked)| !is_later(checked, answer.asked)));
        let superseded = match &answer {
            None => false,
            Some(TagAnswer { head: None, .. }) => return None,
            Some(TagAnswer { head: Some(head), asked }) => {
                if let Some(manifest) = self.here(repository, &head.digest).await {
                    return Some(Cached { manifest, checked: *asked, superseded: false });
                }
                true
            }
        };
        let (digest, checked) = linked?;
        Some(Cached { manifest: self.here(repository, &digest).await?, checked, superseded })
    }

    /// Returns whether the tag can be answered without asking its upstream.
    pub(in crate::registry) fn is_fresh(&self, repository: &Repository, cached: &Cached) -> bool {
        let Ok(upstream) = self.upstream(repository) else { return false };
        // The configured time first: most hits need nothing else.
        let is_young = |freshness| is_younger(cached.checked, freshness);
        !cached.superseded && (is_young(upstream.configured_freshness()) || is_young(upstream.freshness()))
    }

    /// Returns the digest that a tag is linked to and the time of its last check; `None` also for a damaged link.
    ///
    /// # Errors
    /// [`Error::Storage`] if the link cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn tag(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<(Digest, SystemTime)>, Error> {
        if self.store.volume.trusts_index(repository)
            && let Some(fact) = self.store.volume.index.tag(repository, tag)
        {
            return Ok(Some((fact.digest, fact.checked())));
        }
        let (place, wanted) = (repository.clone(), tag.clone());
        let look = move |store: &BlockingStore<'_>| store.disk.tag(&place, &wanted);
        match self.store.blocking(Lane::Look, look).await? {
            Ok(digest) => Ok(digest.map(|digest| (digest, SystemTime::UNIX_EPOCH))),
            // registry:2 leaves empty links after a crash. Such a link is a miss, and the next push or pull repairs it.
            // Garbage collection keeps the manifests it may have named.
            Err(storage::Error::NoDigest(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(in crate::registry) fn check_known(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        let unknown = self.store.tag_cache.is_unknown(&(repository.clone(), tag.clone()));
        if unknown { Err(Error::ManifestUnknown) } else { Ok(()) }
    }
}

/// Unwraps the result of shared work; a panic becomes an error.
pub(in crate::registry) fn completed<T>(joint: Option<SharedAnswer<T>>) -> SharedAnswer<T> {
    joint.unwrap_or(Err(AskError::Registry(Error::Panicked)))
}
