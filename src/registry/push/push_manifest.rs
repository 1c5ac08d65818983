//! Pushes of manifests (distribution-spec, "Pushing Manifests"): checks the manifest and what it references, stores it
//! durably, claims the name, links the manifest and sets the tags. The size limit is in `http/`.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use super::immutable_tags;
use crate::{
    lanes::Lane,
    oci::{Descriptor, Digest, Manifest, MediaType, Repository, Tag},
    registry::{
        ClaimPermission, Error, Registry, StoredManifest,
        store::{blob_store::BlockingStore, manifests},
    },
    storage::{Durability, DurableStore, LinkKind, Purpose},
};

/// The most that a tag's links and their folders occupy, in bytes.
const LINK_BYTES_A_TAG: u64 = 32 << 10;

/// A manifest sent by a client.
#[derive(Debug)]
pub struct ManifestPush {
    /// The bytes as they arrived.
    pub bytes: Bytes,
    /// The digest that the client names, if it does.
    pub digest: Option<Digest>,
    /// The `Content-Type`, if there is one.
    pub media_type: Option<MediaType>,
    /// The tags to point at it.
    pub tags: Vec<Tag>,
}

/// A manifest that was stored.
#[derive(Debug)]
pub struct PushResult {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its subject, for the header `OCI-Subject`.
    pub subject: Option<Digest>,
}

impl Registry {
    /// Checks a manifest, stores its bytes, claims the repository's name, links the manifest and points the tags at it.
    /// All of it is synced to the disk when this returns (law 3 of ARCHITECTURE.md).
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`], [`Error::DigestInvalid`] or [`Error::ManifestBlobUnknown`] for the client's
    /// mistakes, [`Error::ImmutableTag`] if a tag must go on naming another manifest, [`Error::InsufficientSpace`] if
    /// the disk is full, [`Error::Storage`] if it fails, [`Error::ShuttingDown`] if the store is closed. If a
    /// repository was removed meanwhile, also the errors of
    /// [`Registry::check_claim`].
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        mut permission: ClaimPermission,
        push: ManifestPush,
    ) -> Result<PushResult, Error> {
        let (manifest, push) = self.read(push).await?;
        let digest = manifest.digest;
        // The guard comes before the check of the children: they stay until the manifest names them.
        let guard = Arc::new(self.store.protection.gc_guard.guard_manifest(repository, &digest).await);
        let tags: Arc<[Tag]> = push.tags.into();
        self.check_tags(repository, digest, &tags).await?;
        self.check_children(repository, &manifest).await?;
        let subject = manifest.manifest.subject;
        // Space for the links of the manifest and of each tag.
        let _reservation = self.store.reserve_object(Purpose::Hosted, LINK_BYTES_A_TAG * tags.len() as u64).await?;
        self.keep_durably(digest, push.bytes).await?;
        self.manifests.remember(&manifest);
        let immutable = self.rules.immutable.clone();
        loop {
            let (place, tags, kept) = (repository.clone(), Arc::clone(&tags), Arc::clone(&manifest));
            // One writer at a time, so that the disk and the index end with the same digest for a tag.
            let held = (Arc::clone(&guard), self.store.protection.locks.wait_for_repository(repository).await);
            let immutable = immutable.clone();
            let link = move |store: &BlockingStore<'_>| {
                let _held = held;
                // Under the lock, so that of concurrent pushes one wins.
                immutable_tags::check_push(store, &immutable, &place, &tags, &kept.digest)?;
                link(store, &place, permission, &kept, &tags)
            };
            if self.store.blocking(Lane::Sync, link).await?? {
                let media_type = manifest.media_type().clone();
                return Ok(PushResult { digest, media_type, subject });
            }
            // A repository was removed meanwhile, perhaps this one, so the checks are repeated.
            permission = self.check_claim(repository).await?;
            self.check_children(repository, &manifest).await?;
        }
    }

    /// Refuses a push to an immutable tag before anything of it is stored.
    async fn check_tags(&self, repository: &Repository, digest: Digest, tags: &Arc<[Tag]>) -> Result<(), Error> {
        let (place, tags, immutable) = (repository.clone(), Arc::clone(tags), self.rules.immutable.clone());
        if tags.iter().all(|tag| !immutable.matches(&place.name, tag)) {
            return Ok(());
        }
        let check =
            move |store: &BlockingStore<'_>| immutable_tags::check_push(store, &immutable, &place, &tags, &digest);
        self.store.blocking(Lane::Look, check).await?
    }

    /// Hashes and parses a manifest on a lane, since it may have megabytes.
    async fn read(&self, push: ManifestPush) -> Result<(Arc<StoredManifest>, ManifestPush), Error> {
        let read = move |_: &BlockingStore<'_>| parse(digest_of(&push)?, &push).map(|manifest| (manifest, push));
        self.store.blocking(Lane::Compute, read).await?
    }

    async fn keep_durably(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        for _ in 0..2 {
            if self.store.promote(digest).await? {
                return Ok(());
            }
            // Another request may publish it first, unsynced; then the second round promotes it.
            self.store.write(digest, bytes.clone(), Durability::Synced).await?;
        }
        Ok(())
    }

    /// Checks that the manifests and blobs that a manifest references are in its repository, as far as
    /// `validation.manifests` requires.
    async fn check_children(&self, repository: &Repository, manifest: &StoredManifest) -> Result<(), Error> {
        let mut missing = Vec::new();
        for child in &manifest.manifest.manifests {
            if self.rules.validation.must_be_here(child.platform.as_ref()) && !self.has_child(repository, child).await?
            {
                missing.push(child.digest);
            }
        }
        for blob in &manifest.manifest.blobs {
            if *self.rules.validation.blobs && !self.has_blob_or_url(repository, blob).await? {
                missing.push(blob.digest);
            }
        }
        missing.dedup();
        if missing.is_empty() { Ok(()) } else { Err(Error::ManifestBlobUnknown(missing)) }
    }

    /// Returns whether a child of an index exists. It may be a blob: BuildKit's caches are such indexes.
    async fn has_child(&self, repository: &Repository, child: &Descriptor) -> Result<bool, Error> {
        let belongs = self.manifests.belongs(repository, &child.digest).await?;
        Ok((belongs || self.is_linked(repository, &child.digest).await?) && self.is_stored(child).await?)
    }

    async fn has_blob_or_url(&self, repository: &Repository, blob: &Descriptor) -> Result<bool, Error> {
        if self.is_linked(repository, &blob.digest).await? && self.is_stored(blob).await? {
            return Ok(true);
        }
        if blob.urls.is_empty() {
            return Ok(false);
        }
        match blob.urls.iter().find(|url| !is_plain(url) || !self.rules.validation.allows_url(url)) {
            None => Ok(true),
            Some(url) => Err(Error::ManifestInvalid(format!(
                "a layer is said to be at {url:?}, which is not an http or https URL that validation.manifests.urls allows"
            ))),
        }
    }

    async fn is_linked(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blob_link(repository, digest).await?.is_some_and(|link| link.layer))
    }

    /// Returns whether the bytes exist, since the garbage collection of `registry:2` leaves dangling links. The size
    /// must match, because clients reject an image if it does not.
    async fn is_stored(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        match self.store.blocking(Lane::Look, move |store| store.disk.blob_size(&digest)).await?? {
            None => Ok(false),
            Some(found) if found == size => Ok(true),
            Some(found) => {
                Err(Error::ManifestInvalid(format!("{digest} is said to have {size} bytes, and has {found}")))
            }
        }
    }
}

/// Returns whether a client can fetch from the URL.
fn is_plain(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none())
}

fn digest_of(push: &ManifestPush) -> Result<Digest, Error> {
    let Some(given) = push.digest else { return Ok(Digest::sha256(&push.bytes)) };
    let mut hasher = given.hasher();
    hasher.update(&push.bytes);
    let found = hasher.finish();
    if found == given { Ok(given) } else { Err(Error::DigestInvalid { given: given.into(), found: found.into() }) }
}

fn parse(digest: Digest, push: &ManifestPush) -> Result<Arc<StoredManifest>, Error> {
    let invalid = |why: String| Error::ManifestInvalid(why);
    if push.bytes.is_empty() {
        return Err(invalid("the manifest is empty".into()));
    }
    let read = Manifest::parse_strictly(&push.bytes).map_err(|error| invalid(error.to_string()))?;
    let manifest = StoredManifest::of(digest, read, push.bytes.clone());
    let found = manifest.media_type();
    if found.is_schema1() || push.media_type.as_ref().is_some_and(MediaType::is_schema1) {
        return Err(invalid(
            "this is a Docker image manifest version 2, schema 1, which is obsolete and not taken: push the image with a \
             client of this decade, as schema 2 or OCI"
                .into(),
        ));
    }
    match &push.media_type {
        Some(said) if !said.as_str().is_empty() && said != found => {
            Err(invalid(format!("Content-Type says {said}, the manifest itself says {found}")))
        }
        _ => Ok(Arc::new(manifest)),
    }
}

/// Writes the claim, the revision, the tags (law 2 of ARCHITECTURE.md), then the index. The caller holds the
/// repository's lock. Returns `false` if `permission` is outdated.
fn link(
    store: &BlockingStore<'_>,
    repository: &Repository,
    permission: ClaimPermission,
    manifest: &StoredManifest,
    tags: &[Tag],
) -> Result<bool, Error> {
    if !store.claim(repository, permission)? {
        return Ok(false);
    }
    let disk = store.disk;
    let added = disk.add_link(repository, LinkKind::Revision, &manifest.digest, Durability::Synced);
    added.inspect_err(|_| store.reread_link(repository, &manifest.digest))?;
    manifests::note(store.index, repository, manifest);
    store.index.promoted(&manifest.digest);
    for tag in tags {
        let set = disk.set_tag(repository, tag, &manifest.digest, Durability::Synced);
        set.inspect_err(|_| store.reread_tag(repository, tag))?;
        store.index.put_tag(repository, tag, manifest.digest, SystemTime::now());
    }
    Ok(true)
}
