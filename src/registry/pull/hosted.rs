//! Reads of hosted repositories: manifests and blobs that were pushed, without any upstream.

use std::sync::Arc;

use super::blob::Blob;
use crate::{
    lanes::Lane,
    oci::{Digest, Reference, Repository},
    registry::{
        CacheStatus, Error, Head, Registry, StoredManifest, cache_status::Pulled, store::blob_store::BlobBytes,
    },
};

impl Registry {
    /// Returns a manifest of a hosted repository.
    pub(in crate::registry) async fn hosted_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Pulled<Arc<StoredManifest>>, Error> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.tag(repository, tag).await?.ok_or(Error::ManifestUnknown)?.0,
        };
        if !self.manifests.belongs(repository, &digest).await? {
            return Err(Error::ManifestUnknown);
        }
        let manifest = self.manifests.get(&digest).await?.ok_or(Error::ManifestUnknown)?;
        self.store.protection.access_tracker.note(&digest);
        Ok((manifest, CacheStatus::Hosted))
    }

    /// Answers a HEAD of a manifest. Clients send it before they push referrers or indexes, so the manifest is
    /// protected from garbage collection for the grace period.
    pub(in crate::registry) async fn hosted_head(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Pulled<Head>, Error> {
        let (manifest, _) = self.hosted_manifest(repository, reference).await?;
        self.store.protection.gc_guard.protect(&manifest.digest).await;
        let (manifest, cache_status) = self.hosted_manifest(repository, reference).await?;
        Ok((manifest.head(), cache_status))
    }

    /// Returns a blob of a hosted repository. If its bytes are in doubt, they are hashed first, once for all clients.
    pub(in crate::registry) async fn hosted_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Blob, Error> {
        self.check_link(repository, digest).await?;
        self.store.protection.access_tracker.note(digest);
        let reading = self.store.protection.access_tracker.read(digest);
        if let Some(bytes) = self.store.known_bytes(*digest).await? {
            return Ok(Blob::stored(bytes, reading, CacheStatus::Hosted));
        }
        let stored = self.store.recheck(*digest).await?.ok_or(Error::BlobUnknown)?;
        Ok(Blob::stored(BlobBytes::File(stored), reading, CacheStatus::Hosted))
    }

    /// Returns its size without reading its bytes.
    pub(in crate::registry) async fn hosted_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<u64, Error> {
        self.check_link(repository, digest).await?;
        // The client may rely on the answer, so the blob is protected first and then checked again.
        self.store.protection.gc_guard.protect(digest).await;
        self.check_link(repository, digest).await?;
        let wanted = *digest;
        let stored = self.store.blocking(Lane::Look, move |store| store.disk.blob(&wanted)).await??;
        Ok(stored.ok_or(Error::BlobUnknown)?.stamp.size)
    }

    /// Checks that a blob is linked. Revision links count, since some clients fetch manifests as blobs.
    async fn check_link(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        let link = self.blob_link(repository, digest).await?;
        if link.is_some_and(|link| link.layer || link.revision) { Ok(()) } else { Err(Error::BlobUnknown) }
    }
}
