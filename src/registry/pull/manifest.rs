//! Reads of manifests by tag, which may have moved upstream, or by digest, which is immutable (law 7 of
//! ARCHITECTURE.md).

use std::{sync::Arc, time::SystemTime};

use super::tags::{SharedAnswer, completed};
use crate::{
    lanes::Lane,
    oci::{Digest, InvalidManifest, Reference, Repository, Tag},
    registry::{
        CacheStatus, Error, Head, Registry, StoreResult, StoredManifest, UnusableAnswer,
        ask_error::AskError,
        cache_status::Pulled,
        error::{Resource, cached_or_unknown},
        fill::endpoint_health::Availability,
        state::Fetched,
        store::{blob_store::BlockingStore, single_flight::Joined, tag_cache::TagAnswer},
    },
    storage::DurableStore,
};

impl Registry {
    /// Returns the manifest that a reference names.
    ///
    /// # Errors
    /// If no cached answer will do, by the table of law 7 of ARCHITECTURE.md: [`Error::ManifestUnknown`],
    /// [`Error::TooManyRequests`], [`Error::UpstreamFailed`], [`Error::UnusableAnswer`], [`Error::UpstreamTimedOut`] or
    /// [`Error::Incomplete`].
    pub async fn manifest(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        if repository.domain.is_none() {
            let pulled = self.hosted_manifest(repository, reference).await?;
            self.store.note_pull(repository, reference);
            return Ok(pulled);
        }
        let pulled = match reference {
            Reference::Tag(tag) => self.by_tag(repository, tag).await?,
            Reference::Digest(digest) => self.by_digest(repository, digest).await?,
        };
        self.is_whole(repository, &pulled.0).await?;
        if pulled.0.manifest.is_image() {
            self.prefetches.note(repository, &pulled.0);
        }
        // Its blobs are requested next: the access time protects them from eviction.
        self.store.protection.access_tracker.note(&pulled.0.digest);
        Ok(pulled)
    }

    /// Answers a HEAD of a reference. It does not fetch a manifest that is not stored, since upstreams count GETs.
    /// Clients also send it before a push, and then do not name a registry: if the upstream fails and the name is free
    /// for a push, the answer is a 404.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub async fn manifest_head(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        names_registry: bool,
    ) -> Result<Pulled<Head>, Error> {
        if repository.domain.is_none() {
            let head = self.hosted_head(repository, reference).await?;
            self.store.note_pull(repository, reference);
            return Ok(head);
        }
        match self.mirrored_head(repository, reference).await {
            Err(error) if !names_registry && error.is_upstream() && self.is_free(repository).await => {
                Err(Error::ManifestUnknown)
            }
            answer => answer,
        }
    }

    /// Returns whether a name is unused here and may be pushed to.
    async fn is_free(&self, repository: &Repository) -> bool {
        self.writable(repository.name.clone()).await.is_ok()
    }

    async fn mirrored_head(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Pulled<Head>, Error> {
        let absent = match reference {
            Reference::Tag(tag) => self.head_of_moved_tag(repository, tag).await?,
            Reference::Digest(digest) => self.head_of_absent_digest(repository, digest).await?,
        };
        if let Some(head) = absent {
            return Ok(head);
        }
        let (manifest, cache_status) = self.manifest(repository, reference).await?;
        Ok((manifest.head(), cache_status))
    }

    async fn head_of_absent_digest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Pulled<Head>>, Error> {
        if cached_or_unknown(self.manifests.get(digest).await).is_some() {
            return Ok(None);
        }
        let Joined { value: head, collapsed } = self.ask_head(repository, Reference::Digest(*digest)).await;
        let head = head.map_err(|error| error.of(Resource::Manifest))?;
        Ok(head.filter(|head| head.digest == *digest).map(|head| (head, said(collapsed))))
    }

    /// Asks the upstream about a tag that may have moved; `None` if the manifest is to be read as usual.
    async fn head_of_moved_tag(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Pulled<Head>>, Error> {
        let cached = self.cached(repository, tag).await;
        let upstream = self.upstream(repository)?;
        if cached.as_ref().is_some_and(|cached| self.is_fresh(repository, cached) || upstream.is_resting()) {
            return Ok(None);
        }
        self.check_known(repository, tag)?;
        let Joined { value: head, collapsed } = self.ask_tag(repository, tag).await;
        match (head, cached) {
            (Ok(Some(head)), _) => Ok(Some(self.head_here(repository, head, collapsed).await)),
            (Ok(None), _) => Ok(None),
            (Err(error), Some(cached)) if !error.is_not_found() => {
                self.is_whole(repository, &cached.manifest).await?;
                Ok(Some((cached.manifest.head(), cached.stale())))
            }
            (Err(error), _) => Err(error.of(Resource::Manifest)),
        }
    }

    /// Answers a HEAD from the upstream's answer, and from the stored manifest if there is one.
    async fn head_here(&self, repository: &Repository, head: Head, collapsed: bool) -> Pulled<Head> {
        match self.here(repository, &head.digest).await {
            Some(manifest) => {
                self.store.protection.access_tracker.note(&manifest.digest);
                (manifest.head(), CacheStatus::Revalidated)
            }
            None => (head, said(collapsed)),
        }
    }

    async fn by_tag(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        let Some(cached) = self.cached(repository, tag).await else { return self.first_by_tag(repository, tag).await };
        if self.is_fresh(repository, &cached) {
            return Ok((cached.manifest, CacheStatus::Hit));
        }
        match self.upstream(repository)?.availability() {
            Availability::Ask => {}
            Availability::Unavailable => return Ok(cached.served_stale()),
            // Probes the upstream itself: the tag cache cannot show that it is available again.
            Availability::Probe => {
                let (registry, repository, tag) = (Arc::clone(self), repository.clone(), tag.clone());
                self.tasks.spawn(async move { registry.ask_head(&repository, Reference::Tag(tag)).await });
                return Ok(cached.served_stale());
            }
        }
        match self.current(repository, tag, &cached.manifest).await {
            Ok(pulled) => Ok(pulled),
            Err(error) if error.is_not_found() => Err(error.of(Resource::Manifest)),
            Err(error) => {
                tracing::info!(%repository, %tag, %error, "manifest served from the cache");
                Ok(cached.served_stale())
            }
        }
    }

    /// Returns the manifest that a tag names now; `cached` is the one it named before.
    async fn current(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
        cached: &Arc<StoredManifest>,
    ) -> SharedAnswer<Pulled<Arc<StoredManifest>>> {
        match self.ask_tag(repository, tag).await.value? {
            Some(head) if head.digest == cached.digest => Ok((Arc::clone(cached), CacheStatus::Revalidated)),
            Some(head) => match self.here(repository, &head.digest).await {
                Some(manifest) => Ok((manifest, CacheStatus::Revalidated)),
                None => self.fetch_cached_head(repository, tag, head.digest).await,
            },
            None => self.fetch(repository, Reference::Tag(tag.clone())).await,
        }
    }

    async fn first_by_tag(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        self.check_known(repository, tag)?;
        let place = (repository.clone(), tag.clone());
        let fetched = match self.store.tag_cache.recent(&place, self.freshness(repository)) {
            Some(head) => self.fetch_cached_head(repository, tag, head.digest).await,
            None => self.fetch(repository, Reference::Tag(tag.clone())).await,
        };
        fetched.map_err(|error| error.of(Resource::Manifest))
    }

    async fn by_digest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        if let Some(manifest) = self.here(repository, digest).await {
            return Ok((manifest, CacheStatus::Hit));
        }
        // The bytes may be stored for another repository: a HEAD, which is not counted, authorizes this one.
        if let Some(manifest) = cached_or_unknown(self.manifests.get(digest).await) {
            let upstream = self.upstream(repository)?;
            let reference = Reference::Digest(*digest);
            let head = upstream
                .head_manifest(&repository.name, &reference)
                .await
                .map_err(|error| Resource::Manifest.failed(&error))?;
            // A captive portal answers 200, too. An answer without the digest proves nothing, so the bytes are fetched.
            if head.digest == Some(*digest) {
                self.manifests.store_mirrored(repository, &manifest).await;
                return Ok((manifest, CacheStatus::Revalidated));
            }
        }
        let fetched = self.fetch(repository, Reference::Digest(*digest)).await;
        fetched.map_err(|error| error.of(Resource::Manifest))
    }

    /// Fetches the manifest that the tag cache names. If it is gone, fetches the tag itself, which may have moved.
    async fn fetch_cached_head(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
        digest: Digest,
    ) -> SharedAnswer<Pulled<Arc<StoredManifest>>> {
        match self.fetch(repository, Reference::Digest(digest)).await {
            Err(error) if error.is_not_found() => {
                self.store.tag_cache.forget(&(repository.clone(), tag.clone()), &digest);
                self.fetch(repository, Reference::Tag(tag.clone())).await
            }
            fetched => fetched,
        }
    }

    /// Fetches a manifest once for all concurrent requests, and stores it.
    pub(in crate::registry) async fn fetch(
        self: &Arc<Self>,
        repository: &Repository,
        reference: Reference,
    ) -> SharedAnswer<Pulled<Arc<StoredManifest>>> {
        let (registry, place) = (Arc::clone(self), repository.clone());
        let work = {
            let reference = reference.clone();
            async move { registry.fetch_now(&place, &reference).await }
        };
        let Joined { value: fetched, collapsed } = self.fetches.join((repository.clone(), reference), work).await;
        let (manifest, kept) = completed(fetched)?;
        Ok((manifest, CacheStatus::Miss { collapsed, kept }))
    }

    pub(in crate::registry) async fn fetch_now(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> SharedAnswer<Fetched> {
        let upstream = self.upstream(repository)?;
        let asked = SystemTime::now();
        let name = &repository.name;
        let body =
            upstream.ask(|remote, threads| async move { remote.get_manifest(&threads, name, reference).await }).await;
        let body = self.note_absence(repository, reference, asked, body.map_err(AskError::from)).await?;
        let digest = match (reference, body.digest) {
            (Reference::Digest(digest), _) => *digest,
            (Reference::Tag(_), Some(digest)) => digest,
            (Reference::Tag(_), None) => Digest::sha256(&body.bytes),
        };
        let unusable = |error: InvalidManifest| {
            let (repository, reference) = (Box::new(repository.clone()), Box::new(reference.clone()));
            Error::from(UnusableAnswer::Manifest { repository, reference, error: Arc::new(error) })
        };
        let parsed = self.manifests.parse(digest, body.bytes).await.ok_or(Error::Panicked)?;
        let manifest = parsed.map_err(unusable)?;
        // An irregular manifest is accepted only if a digest proves that the upstream sent it.
        if let (Reference::Tag(_), None, Some(field)) = (reference, body.digest, manifest.manifest.malformed) {
            return Err(unusable(InvalidManifest::Field(field)).into());
        }
        if let Reference::Tag(tag) = reference {
            let answer = TagAnswer { head: Some(manifest.head()), asked };
            self.store.tag_cache.note(&(repository.clone(), tag.clone()), answer);
        }
        let kept = self.manifests.store_mirrored(repository, &manifest).await;
        Ok((manifest, kept))
    }

    /// Returns a stored manifest that belongs to the repository: linked, or named by an index that is.
    pub(in crate::registry) async fn here(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Option<Arc<StoredManifest>> {
        let belongs = self.manifests.belongs(repository, digest).await;
        if cached_or_unknown(belongs.map(Some)).unwrap_or(false) {
            return cached_or_unknown(self.manifests.get(digest).await);
        }
        self.manifests.link_of(repository, digest)?.named?;
        if !self.store.volume.index.origins(digest).mirrored {
            return None;
        }
        let manifest = cached_or_unknown(self.manifests.get(digest).await)?;
        self.manifests.store_mirrored(repository, &manifest).await;
        Some(manifest)
    }

    /// Checks that an image is complete while the upstream cannot be reached (law 7 of ARCHITECTURE.md). Clients try
    /// another registry if the manifest fails, but some fail if a blob does. Layers never requested here do not count,
    /// because some clients fetch the manifest and config of every platform, but only the layers of their own.
    async fn is_whole(&self, repository: &Repository, manifest: &StoredManifest) -> Result<(), Error> {
        let upstream = self.upstream(repository)?;
        if !manifest.manifest.is_image() || !upstream.is_down() {
            return Ok(());
        }
        let Some(missing) = self.missing_blob(repository, manifest).await? else { return Ok(()) };
        // Clients that use digests only stop at this error, so without this probe no request would find the upstream
        // back.
        if upstream.availability() == Availability::Probe {
            let reference = Reference::Digest(manifest.digest);
            let _ = upstream.head_manifest(&repository.name, &reference).await;
        }
        if upstream.is_down() { Err(Error::Incomplete { missing }) } else { Ok(()) }
    }

    /// Returns the first blob of an image that is neither stored nor being fetched, and that the client may need: the
    /// config, or a layer that was requested before and was evicted or never arrived.
    async fn missing_blob(&self, repository: &Repository, image: &StoredManifest) -> Result<Option<Digest>, Error> {
        // An unknown link counts as requested.
        let wanted =
            |digest: &Digest| self.manifests.link_of(repository, digest).is_none_or(|link| link.layer || link.wanted);
        // The config is the first blob.
        let blobs = image.manifest.blobs.iter().enumerate().filter(|(_, blob)| blob.urls.is_empty());
        let needed: Vec<Digest> = blobs
            .filter(|(place, blob)| *place == 0 || wanted(&blob.digest))
            .map(|(_, blob)| blob.digest)
            .filter(|digest| !self.fills.is_filling(digest))
            .collect();
        let look = move |store: &BlockingStore<'_>| {
            for digest in needed {
                if store.disk.blob_size(&digest)?.is_none() {
                    return Ok(Some(digest));
                }
            }
            Ok(None)
        };
        self.store.blocking(Lane::Look, look).await?
    }
}

/// Returns the status of an answer that repeats the upstream's HEAD.
fn said(collapsed: bool) -> CacheStatus {
    CacheStatus::Miss { collapsed, kept: StoreResult::Nothing }
}
