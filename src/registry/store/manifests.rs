//! Manifests that are stored here: cached in memory after they were served, and on disk like any blob.

use std::sync::Arc;

use bytes::Bytes;
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    blob_store::{BlobStore, BlockingStore},
    manifests,
    referrer_descriptor::ReferrerDescriptor,
};
use crate::{
    index::{Index, Link, Role},
    lanes::Lane,
    oci::{Digest, InvalidManifest, Manifest, MediaType, Repository},
    registry::{Error, Head, Refused, StoreResult},
    storage::{Durability, DurableStore, LinkKind},
};

/// The memory of a cache entry beside the manifest's, in bytes.
const ENTRY: usize = 512;
/// The number of links remembered in memory that could not be written to the disk.
const UNKEPT: u64 = 20_000;

/// A manifest: its bytes as they were pushed or fetched, and the parsed document.
#[derive(Debug)]
pub struct StoredManifest {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The original bytes, never re-serialised.
    pub bytes: Bytes,
    /// The parsed document.
    pub manifest: Manifest,
    /// Its descriptor in referrers lists; `None` if it has no subject.
    pub(in crate::registry) described: Option<ReferrerDescriptor>,
}

impl StoredManifest {
    /// Parses bytes that hash to `digest`.
    pub(in crate::registry) fn new(digest: Digest, bytes: Bytes) -> Result<Self, InvalidManifest> {
        Ok(Self::of(digest, Manifest::parse(&bytes)?, bytes))
    }

    /// Creates the value from bytes that are parsed already.
    pub(in crate::registry) fn of(digest: Digest, manifest: Manifest, bytes: Bytes) -> Self {
        let refers = manifest.subject.is_some();
        let described = refers.then(|| ReferrerDescriptor::new(&digest, &bytes, &manifest.media_type));
        Self { digest, bytes, manifest, described }
    }

    /// Returns about how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let described = self.described.as_ref().map_or(0, |described| described.json.len());
        ENTRY + size_of::<Self>() + self.bytes.len() + self.manifest.heap() + described
    }

    /// Returns the media type it is served with.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.manifest.media_type
    }

    /// Returns the answer to a HEAD request.
    pub(in crate::registry) fn head(&self) -> Head {
        Head { digest: self.digest, media_type: self.media_type().clone(), size: self.bytes.len() as u64 }
    }
}

/// The manifests of one volume.
#[derive(Debug)]
pub(in crate::registry) struct Manifests {
    memory: Cache<Digest, Arc<StoredManifest>>,
    /// Links that could not be written to the disk, in the form of the index. They make manifests kept only in memory
    /// belong to a repository.
    unkept: Cache<(Repository, Digest), Link>,
    store: BlobStore,
}

impl Manifests {
    /// Creates the cache of manifests in memory, of `memory` bytes.
    pub(in crate::registry) fn new(store: BlobStore, memory: u64) -> Self {
        let weigh = |_: &Digest, manifest: &Arc<StoredManifest>| u32::try_from(manifest.weight()).unwrap_or(u32::MAX);
        let memory =
            Cache::builder().max_capacity(memory).weigher(weigh).eviction_policy(EvictionPolicy::lru()).build();
        let unkept = Cache::builder().max_capacity(UNKEPT).eviction_policy(EvictionPolicy::lru()).build();
        Self { memory, unkept, store }
    }

    /// Returns a manifest if it is stored, regardless of repositories: the caller checks first that it belongs to one.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn get(&self, digest: &Digest) -> Result<Option<Arc<StoredManifest>>, Error> {
        if let Some(manifest) = self.memory.get(digest) {
            return Ok(Some(manifest));
        }
        let Some(bytes) = self.store.read(*digest).await? else { return Ok(None) };
        // A client may request the digest of a blob that is no manifest.
        let Ok(manifest) = self.parse(*digest, bytes).await.ok_or(Error::Panicked)? else { return Ok(None) };
        self.memory.insert(*digest, Arc::clone(&manifest));
        Ok(Some(manifest))
    }

    /// Parses bytes that hash to `digest` on a lane, since they may be megabytes. `None` if the work panics.
    pub(in crate::registry) async fn parse(
        &self,
        digest: Digest,
        bytes: Bytes,
    ) -> Option<Result<Arc<StoredManifest>, InvalidManifest>> {
        let parse = move || StoredManifest::new(digest, bytes).map(Arc::new);
        self.store.execution.lanes().run(Lane::Compute, move |_| parse()).await.ok()
    }

    /// Drops a manifest from memory, because its bytes on disk are damaged; it then counts as absent and can be pushed
    /// again.
    pub(in crate::registry) fn forget(&self, digest: &Digest) {
        self.memory.invalidate(digest);
    }

    /// Forgets the links of a repository that are remembered in memory only.
    pub(in crate::registry) fn forget_repository(&self, repository: &Repository) {
        let links = self.unkept.iter().filter(|(key, _)| key.0 == *repository);
        links.for_each(|(key, _)| self.unkept.invalidate(&*key));
    }

    /// Caches a manifest in memory that was just pushed, since a pull is likely to follow.
    pub(in crate::registry) fn remember(&self, manifest: &Arc<StoredManifest>) {
        self.memory.insert(manifest.digest, Arc::clone(manifest));
    }

    /// Stores a mirrored manifest: bytes, then revision link, then the tags that wait for it (law 2 of
    /// ARCHITECTURE.md). It stays in memory even if the disk refuses it.
    pub(in crate::registry) async fn store_mirrored(
        &self,
        repository: &Repository,
        manifest: &Arc<StoredManifest>,
    ) -> StoreResult {
        self.memory.insert(manifest.digest, Arc::clone(manifest));
        let _guard = self.store.protection.gc_guard.guard_blob(&manifest.digest).await;
        let kept = match self.store.has(manifest.digest).await {
            Ok(true) => Ok(()),
            Ok(false) => self.store.write(manifest.digest, manifest.bytes.clone(), Durability::Unsynced).await,
            Err(error) => Err(error),
        };
        let linked = match kept {
            Ok(()) => self.link(repository, manifest).await,
            Err(error) => Err(error),
        };
        match linked {
            Ok(()) => {
                self.unkept.invalidate(&(repository.clone(), manifest.digest));
                StoreResult::Stored
            }
            Err(error) => {
                self.store.space.note_uncached(&manifest.digest, repository, &error);
                self.remember_links(repository, manifest);
                StoreResult::Refused(Refused::of(&error))
            }
        }
    }

    /// Remembers the links that the index would have if the disk had accepted a manifest.
    fn remember_links(&self, repository: &Repository, manifest: &StoredManifest) {
        let remember = |digest: &Digest, link: Link| {
            let known = self.unkept.get(&(repository.clone(), *digest)).unwrap_or_default();
            self.unkept.insert((repository.clone(), *digest), known.and(link));
        };
        for child in manifest.manifest.children() {
            remember(&child.digest, Link { named: Some(child.size), ..Link::default() });
        }
        remember(&manifest.digest, Link { revision: true, ..Link::default() });
    }

    /// Returns the link of a digest in a repository, from the index or from memory.
    pub(in crate::registry) fn link_of(&self, repository: &Repository, digest: &Digest) -> Option<Link> {
        let indexed = self.store.volume.index.link(repository, digest);
        indexed.or_else(|| self.unkept.get(&(repository.clone(), *digest)))
    }

    /// Records that a blob was requested in a repository that is authorized for it.
    pub(in crate::registry) fn want(&self, repository: &Repository, digest: &Digest) {
        let wanted = Link { wanted: true, ..Link::default() };
        let (index, key) = (&self.store.volume.index, (repository.clone(), *digest));
        match (index.link(repository, digest), self.unkept.get(&key)) {
            (Some(link), _) if link.layer || link.wanted => {}
            (Some(_), _) => index.add_link(repository, digest, wanted),
            (None, Some(link)) => self.unkept.insert(key, link.and(wanted)),
            (None, None) => {}
        }
    }

    /// Links a mirrored manifest and the tags that wait for it, unless its bytes were evicted meanwhile.
    pub(in crate::registry) async fn link(
        &self,
        repository: &Repository,
        manifest: &Arc<StoredManifest>,
    ) -> Result<(), Error> {
        let (repository, manifest) = (repository.clone(), Arc::clone(manifest));
        let lock = self.store.protection.locks.wait_for_digest(&manifest.digest).await;
        let link = move |store: &BlockingStore<'_>| {
            let _lock = lock;
            if store.disk.blob_size(&manifest.digest)?.is_none() {
                return Ok(());
            }
            let known = store.index.link(&repository, &manifest.digest).is_some_and(|link| link.revision);
            if !known || !store.disk.has_link(&repository, LinkKind::Revision, &manifest.digest)? {
                store.disk.add_link(&repository, LinkKind::Revision, &manifest.digest, Durability::Unsynced)?;
                note(store.index, &repository, &manifest);
            }
            // Taken only after the manifest is linked: a tag answer that arrives later finds it.
            for (tag, asked) in store.tag_cache.take(&repository, &manifest.digest) {
                store.point_tag(&repository, &tag, &manifest.digest, asked)?;
            }
            Ok(())
        };
        self.store.blocking(Lane::Write, link).await?
    }

    /// Returns whether `digest` is a manifest of `repository` by its links. The index may lag behind the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the link cannot be read, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn belongs(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        let trusted = self.store.volume.trusts_index(repository);
        if trusted && self.link_of(repository, digest).is_some_and(|link| link.revision) {
            return Ok(true);
        }
        // A complete index knows all hosted repositories. It is checked after the lookup, which may have failed.
        if repository.domain.is_none() && self.store.volume.index.is_complete() {
            return Ok(false);
        }
        let (place, digest) = (repository.clone(), *digest);
        let look = move |store: &BlockingStore<'_>| {
            let found = store.disk.has_link(&place, LinkKind::Revision, &digest)?;
            if found && place.domain.is_some() {
                store.index.add_link(&place, &digest, Link { revision: true, ..Link::default() });
            }
            Ok(found)
        };
        self.store.blocking(Lane::Look, look).await?
    }
}

/// Adds a manifest and everything it references to the index.
pub(in crate::registry) fn note(index: &Index, repository: &Repository, stored: &StoredManifest) {
    let StoredManifest { digest, manifest, .. } = stored;
    index.add_repository(repository);
    index.linked(repository, digest, Link { revision: true, ..Link::default() });
    if let Some(subject) = &manifest.subject {
        index.add_referrer(repository, subject, digest, &manifests::describe(stored).encode());
    }
    for child in manifest.children() {
        index.add_link(repository, &child.digest, Link { named: Some(child.size), ..Link::default() });
    }
    if repository.domain.is_some() {
        note_parent(index, digest, manifest);
    }
}

/// Records the parent of each child, which eviction needs to order them.
fn note_parent(index: &Index, digest: &Digest, manifest: &Manifest) {
    for child in &manifest.manifests {
        index.add_parent(&child.digest, digest, Role::Manifest);
    }
    for (place, blob) in manifest.blobs.iter().enumerate() {
        // The config is the first blob.
        let role = if place == 0 { Role::Manifest } else { Role::Layer };
        index.add_parent(&blob.digest, digest, role);
    }
}

/// Returns the descriptor of a manifest that has a subject; builds it if it was not built on parsing.
pub(in crate::registry) fn describe(manifest: &StoredManifest) -> ReferrerDescriptor {
    let made = || ReferrerDescriptor::new(&manifest.digest, &manifest.bytes, manifest.media_type());
    manifest.described.clone().unwrap_or_else(made)
}
