//! Deletes links of tags, manifests and blobs (distribution-spec, "Content Management"). Garbage collection removes the
//! bytes.

use super::immutable_tags;
use crate::{
    index::Link,
    lanes::Lane,
    oci::{Digest, Repository, Tag},
    registry::{
        Error, Registry,
        store::{blob_store::BlockingStore, links},
    },
    storage::{self, Durability, DurableStore, LinkKind},
};

impl Registry {
    /// Deletes a tag. Its manifest stays.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if there is no such tag, [`Error::ImmutableTag`] if it is immutable,
    /// [`Error::Storage`] if the disk fails.
    pub async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        match self.tag(repository, tag).await {
            // A damaged link can be deleted, too.
            Err(Error::Storage(error)) if matches!(*error, storage::Error::NoDigest(_)) => {}
            named => drop(named?.ok_or(Error::ManifestUnknown)?),
        }
        immutable_tags::check_delete(&self.rules.immutable, repository, std::slice::from_ref(tag))?;
        let (place, tag) = (repository.clone(), tag.clone());
        let lock = self.store.protection.locks.wait_for_repository(repository).await;
        let delete = move |store: &BlockingStore<'_>| {
            let _lock = lock;
            store.delete_tag(&place, &tag)
        };
        self.store.blocking(Lane::Sync, delete).await?
    }

    /// Deletes a manifest from a repository, after the tags that name it (law 2 of ARCHITECTURE.md). Returns these
    /// tags.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if the repository does not have it, [`Error::ImmutableTag`] if an immutable tag names
    /// it, [`Error::Storage`] if the disk fails.
    pub async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Tag>, Error> {
        if !self.manifests.belongs(repository, digest).await? {
            return Err(Error::ManifestUnknown);
        }
        let subject = self.manifests.get(digest).await?.and_then(|manifest| manifest.manifest.subject);
        let (place, digest, immutable) = (repository.clone(), *digest, self.rules.immutable.clone());
        let lock = self.store.protection.locks.wait_for_repository(repository).await;
        let delete = move |store: &BlockingStore<'_>| {
            let _lock = lock;
            let tags = links::tags_of(store.disk, &place, &digest)?;
            immutable_tags::check_delete(&immutable, &place, &tags)?;
            store.delete_manifest(&place, &tags, &digest, subject.as_ref())?;
            Ok(tags)
        };
        self.store.blocking(Lane::Sync, delete).await?
    }

    /// Deletes a blob from a repository.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it, [`Error::Storage`] if the disk fails.
    pub async fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        if !self.blob_link(repository, digest).await?.is_some_and(|link| link.layer) {
            return Err(Error::BlobUnknown);
        }
        let (place, digest) = (repository.clone(), *digest);
        let of_repository = self.store.protection.locks.wait_for_repository(repository).await;
        let of_digest = self.store.protection.locks.wait_for_digest(&digest).await;
        let delete = move |store: &BlockingStore<'_>| {
            let _locks = (of_repository, of_digest);
            let removed = store.disk.remove_link(&place, LinkKind::Layer, &digest, Durability::Synced);
            removed.inspect_err(|_| store.reread_link(&place, &digest))?;
            store.index.remove_link(&place, &digest, Link { layer: true, ..Link::default() });
            Ok(())
        };
        self.store.blocking(Lane::Sync, delete).await?
    }
}
