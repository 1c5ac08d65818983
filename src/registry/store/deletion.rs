//! Deletes tags and manifests of hosted repositories on disk and in the index together: for clients, and for retention.

use super::blob_store::BlockingStore;
use crate::{
    index::Link,
    oci::{Digest, Repository, Tag},
    registry::Error,
    storage::{Durability, DurableStore, LinkKind},
};

impl BlockingStore<'_> {
    /// Deletes a tag; its manifest stays. The caller holds the repository's lock.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub(in crate::registry) fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        self.disk.remove_tag(repository, tag).inspect_err(|_| self.reread_tag(repository, tag))?;
        self.index.remove_tag(repository, tag);
        Ok(())
    }

    /// Deletes a manifest, after all tags that name it (law 2 of ARCHITECTURE.md): `tags`. `subject` is the manifest
    /// that it refers to. The name stays claimed. The caller holds the repository's lock.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub(in crate::registry) fn delete_manifest(
        &self,
        repository: &Repository,
        tags: &[Tag],
        digest: &Digest,
        subject: Option<&Digest>,
    ) -> Result<(), Error> {
        let claimed = self.keep_claim(repository)?;
        tags.iter().try_for_each(|tag| self.delete_tag(repository, tag))?;
        let removed = match claimed {
            true => self.disk.remove_link(repository, LinkKind::Revision, digest, Durability::Synced),
            // There is no space for the claim on a full disk, but a delete must succeed there.
            false => self.disk.links(repository).turn_into_claim(digest),
        };
        removed.inspect_err(|_| self.reread_link(repository, digest))?;
        self.index.remove_link(repository, digest, Link { revision: true, ..Link::default() });
        if let Some(subject) = subject {
            self.index.remove_referrer(repository, subject, digest);
        }
        self.delist_if_empty(repository)
    }
}
