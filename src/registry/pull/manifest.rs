//! Manifests, as a client asks for them: by a tag, which may have moved, or by a digest, which cannot (law 7).

use std::{sync::Arc, time::SystemTime};

use super::tags::{Asking, completed};
use crate::{
    lanes::Lane,
    oci::{Digest, InvalidManifest, Reference, Repository, Tag},
    registry::{
        CacheStatus, Error, Head, Kept, Registry, StoredManifest,
        cache_status::Pulled,
        error::{Resource, cached_or_unknown},
        fill::upstream_health::Availability,
        state::Fetched,
        store::{blob_store::BlobStore, tag_cache::TagAnswer},
    },
    upstream,
};

impl Registry {
    /// The manifest a reference names.
    ///
    /// # Errors
    /// As law 7's table says, where nothing cached will do.
    pub async fn manifest(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        if repository.domain.is_none() {
            return self.hosted_manifest(repository, reference).await;
        }
        let pulled = match reference {
            Reference::Tag(tag) => self.by_tag(repository, tag).await?,
            Reference::Digest(digest) => self.by_digest(repository, digest).await?,
        };
        self.is_whole(repository, &pulled.0).await?;
        // Its blobs are asked for next: they stay as long as it was served just now.
        self.store.access_tracker.note(&pulled.0.digest);
        Ok(pulled)
    }

    /// What a HEAD of a reference says. A manifest that is not here is not fetched for
    /// it: GETs are what upstreams count. Clients ask this before they push, too, where
    /// they do not name the registry that they mean: an upstream that fails is no reason
    /// then not to push to a name that is free.
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
            return self.hosted_head(repository, reference).await;
        }
        match self.mirrored_head(repository, reference).await {
            Err(error) if !names_registry && error.is_upstream() && self.is_free(repository).await => {
                Err(Error::ManifestUnknown)
            }
            told => told,
        }
    }

    /// Whether nothing is known here of a name, and it may be pushed to.
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
        let (manifest, provenance) = self.manifest(repository, reference).await?;
        Ok((manifest.head(), provenance))
    }

    async fn head_of_absent_digest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Pulled<Head>>, Error> {
        if cached_or_unknown(self.manifests.get(digest).await).is_some() {
            return Ok(None);
        }
        let (head, collapsed) = self.ask_head(repository, Reference::Digest(*digest)).await;
        let head = head.map_err(|error| Resource::Manifest.failed(&error))?;
        Ok(head.filter(|head| head.digest == *digest).map(|head| (head, said(collapsed))))
    }

    /// The upstream's word on a tag that may have moved; `None` where the usual way will do.
    async fn head_of_moved_tag(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Pulled<Head>>, Error> {
        let cached = self.cached(repository, tag).await;
        let mirror = self.mirror(repository)?;
        if cached.as_ref().is_some_and(|cached| self.is_fresh(cached) || mirror.is_resting()) {
            return Ok(None);
        }
        self.check_known(repository, tag)?;
        let (head, collapsed) = self.ask_tag(repository, tag).await;
        match (head, cached) {
            (Ok(Some(head)), _) => Ok(Some(self.head_here(repository, head, collapsed).await)),
            (Ok(None), _) => Ok(None),
            (Err(error), Some(cached)) if !matches!(*error, upstream::Error::NotFound) => {
                self.is_whole(repository, &cached.manifest).await?;
                Ok(Some((cached.manifest.head(), cached.stale())))
            }
            (Err(error), _) => Err(Resource::Manifest.failed(&error)),
        }
    }

    /// What a HEAD of the upstream's says, of a manifest that may be here.
    async fn head_here(&self, repository: &Repository, head: Head, collapsed: bool) -> Pulled<Head> {
        match self.here(repository, &head.digest).await {
            Some(manifest) => {
                self.store.access_tracker.note(&manifest.digest);
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
        if self.is_fresh(&cached) {
            return Ok((cached.manifest, CacheStatus::Hit));
        }
        match self.mirror(repository)?.availability() {
            Availability::Ask => {}
            Availability::Unavailable => return Ok(cached.served_stale()),
            // Of the upstream itself: what was heard of the tag just now does not tell that it is back.
            Availability::Probe => {
                let (registry, repository, tag) = (Arc::clone(self), repository.clone(), tag.clone());
                self.tasks.spawn(async move { registry.ask_head(&repository, Reference::Tag(tag)).await });
                return Ok(cached.served_stale());
            }
        }
        match self.current(repository, tag, &cached.manifest).await {
            Ok(pulled) => Ok(pulled),
            Err(error) if matches!(*error, upstream::Error::NotFound) => Err(Resource::Manifest.failed(&error)),
            Err(error) => {
                tracing::info!("{repository}:{tag} is answered from the cache: {error}");
                Ok(cached.served_stale())
            }
        }
    }

    /// What a tag names now, given what it named.
    async fn current(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
        cached: &Arc<StoredManifest>,
    ) -> Asking<Pulled<Arc<StoredManifest>>> {
        match self.ask_tag(repository, tag).await.0? {
            Some(head) if head.digest == cached.digest => Ok((Arc::clone(cached), CacheStatus::Revalidated)),
            Some(head) => match self.here(repository, &head.digest).await {
                Some(manifest) => Ok((manifest, CacheStatus::Revalidated)),
                None => self.fetch_heard(repository, tag, head.digest).await,
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
        let fetched = match self.store.tag_cache.recent(&place, self.freshness) {
            Some(head) => self.fetch_heard(repository, tag, head.digest).await,
            None => self.fetch(repository, Reference::Tag(tag.clone())).await,
        };
        fetched.map_err(|error| Resource::Manifest.failed(&error))
    }

    async fn by_digest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        if let Some(manifest) = self.here(repository, digest).await {
            return Ok((manifest, CacheStatus::Hit));
        }
        // The bytes may be here for another repository: then one HEAD shows this one's right to them, and costs
        // nothing.
        if let Some(manifest) = cached_or_unknown(self.manifests.get(digest).await) {
            let mirror = self.mirror(repository)?;
            let reference = Reference::Digest(*digest);
            let head = mirror.remote.head_manifest(&mirror.pool, &repository.name, &reference);
            let head = mirror.ask(head).await.map_err(|error| Resource::Manifest.failed(&error))?;
            // A captive portal answers 200, too: what does not name the digest shows nothing, and the bytes are asked
            // for.
            if head.digest == Some(*digest) {
                self.manifests.keep(repository, &manifest).await;
                return Ok((manifest, CacheStatus::Revalidated));
            }
        }
        let fetched = self.fetch(repository, Reference::Digest(*digest)).await;
        fetched.map_err(|error| Resource::Manifest.failed(&error))
    }

    /// Fetches what a tag was heard to name. That may be gone since, and the tag name something else.
    async fn fetch_heard(
        self: &Arc<Self>,
        repository: &Repository,
        tag: &Tag,
        digest: Digest,
    ) -> Asking<Pulled<Arc<StoredManifest>>> {
        match self.fetch(repository, Reference::Digest(digest)).await {
            Err(error) if matches!(*error, upstream::Error::NotFound) => {
                self.store.tag_cache.forget(&(repository.clone(), tag.clone()), &digest);
                self.fetch(repository, Reference::Tag(tag.clone())).await
            }
            fetched => fetched,
        }
    }

    /// Fetches a manifest once for everyone who wants it now, and keeps it.
    async fn fetch(
        self: &Arc<Self>,
        repository: &Repository,
        reference: Reference,
    ) -> Asking<Pulled<Arc<StoredManifest>>> {
        let (registry, place) = (Arc::clone(self), repository.clone());
        let work = {
            let reference = reference.clone();
            async move { registry.fetch_now(&place, &reference).await }
        };
        let (fetched, collapsed) = self.fetches.join((repository.clone(), reference), work).await;
        let (manifest, kept) = completed(fetched)?;
        Ok((manifest, CacheStatus::Miss { collapsed, kept }))
    }

    pub(in crate::registry) async fn fetch_now(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Asking<Fetched> {
        let mirror = self.mirror_of(repository)?;
        let asked = SystemTime::now();
        let body = mirror.ask(mirror.remote.get_manifest(&mirror.pool, &repository.name, reference)).await;
        let body = self.note_absence(repository, reference, asked, body).await?;
        let digest = match (reference, body.digest) {
            (Reference::Digest(digest), _) => *digest,
            (Reference::Tag(_), Some(digest)) => digest,
            (Reference::Tag(_), None) => Digest::sha256(&body.bytes),
        };
        let unusable = |why: String| Arc::new(upstream::Error::Protocol(format!("{reference} of {repository}: {why}")));
        let parsed =
            self.manifests.parse(digest, body.bytes).await.ok_or_else(|| unusable("reading it died".into()))?;
        let manifest = parsed.map_err(|error| unusable(error.to_string()))?;
        // The upstream means it where a digest vouches for it; otherwise it may be anybody's on the way.
        if let (Reference::Tag(_), None, Some(field)) = (reference, body.digest, manifest.manifest.malformed) {
            return Err(unusable(InvalidManifest::Field(field).to_string()));
        }
        if let Reference::Tag(tag) = reference {
            let word = TagAnswer { head: Some(manifest.head()), asked };
            self.store.tag_cache.note(&(repository.clone(), tag.clone()), word);
        }
        let kept = self.manifests.keep(repository, &manifest).await;
        Ok((manifest, kept))
    }

    /// A manifest that is here and belongs to this repository: linked, or named by an index that is.
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
        if !self.store.index.class(digest).mirrored {
            return None;
        }
        let manifest = cached_or_unknown(self.manifests.get(digest).await)?;
        self.manifests.keep(repository, &manifest).await;
        Some(manifest)
    }

    /// Law 7: while the upstream cannot be reached, an image is served whole or not at all. Every client goes elsewhere
    /// when its manifest fails; some die when a blob does. Layers that nobody ever asked for here do not count: there
    /// are clients that fetch every platform's manifest and config, each time, and the layers of their own.
    async fn is_whole(&self, repository: &Repository, manifest: &StoredManifest) -> Result<(), Error> {
        let mirror = self.mirror(repository)?;
        if !manifest.manifest.is_image() || !mirror.is_down() {
            return Ok(());
        }
        let Some(missing) = self.missing_blob(repository, manifest).await? else { return Ok(()) };
        // Where clients know their images by digest alone, and hear no at the manifest, nobody else would find it back.
        if mirror.availability() == Availability::Probe {
            let reference = Reference::Digest(manifest.digest);
            let _ = mirror.ask(mirror.remote.head_manifest(&mirror.pool, &repository.name, &reference)).await;
        }
        if mirror.is_down() { Err(Error::Incomplete { missing }) } else { Ok(()) }
    }

    /// The first blob of an image that is neither here nor on its way, and that whoever asks for the image may ask for:
    /// its config, or a layer that somebody asked for before, and that made way or never came.
    async fn missing_blob(&self, repository: &Repository, image: &StoredManifest) -> Result<Option<Digest>, Error> {
        // What is not known counts as asked for.
        let wanted =
            |digest: &Digest| self.manifests.link_of(repository, digest).is_none_or(|link| link.layer || link.wanted);
        // The config comes first.
        let blobs = image.manifest.blobs.iter().enumerate().filter(|(_, blob)| blob.urls.is_empty());
        let needed: Vec<Digest> = blobs
            .filter(|(place, blob)| *place == 0 || wanted(&blob.digest))
            .map(|(_, blob)| blob.digest)
            .filter(|digest| !self.fills.is_filling(digest))
            .collect();
        let look = move |store: &BlobStore| {
            for digest in needed {
                if !store.storage.has_blob(&digest)? {
                    return Ok(Some(digest));
                }
            }
            Ok(None)
        };
        self.store.blocking(Lane::Look, look).await?
    }
}

/// An answer that is what a HEAD of the upstream's said.
fn said(collapsed: bool) -> CacheStatus {
    CacheStatus::Miss { collapsed, kept: Kept::Nothing }
}
