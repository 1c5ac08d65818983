//! Repairs the index after a failed change of the disk. A directory entry is synced last, so a link may exist, or be
//! gone, although the call failed. The disk is read again then. If that fails too, the whole index is in doubt: it is
//! rebuilt, and requests read the disk until it is complete.

use std::time::SystemTime;

use super::{blob_store::BlockingStore, links, manifests, stored_manifests};
use crate::{
    index::Link,
    oci::{Digest, Repository, Tag},
    registry::Error,
    storage::{self, DurableStore, LinkKind},
};

impl BlockingStore<'_> {
    /// Updates the index with the digest that a tag has on disk. The caller holds the lock under which the tag changes.
    pub(in crate::registry) fn reread_tag(&self, repository: &Repository, tag: &Tag) {
        match self.disk.tag(repository, tag) {
            Ok(Some(digest)) => {
                // The time of the last check of a mirrored tag is unknown, so it counts as stale.
                let hosted = repository.domain.is_none();
                let checked = if hosted { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
                self.index.put_tag(repository, tag, digest, checked);
            }
            // A damaged link is read from the disk again on the next request.
            Ok(None) | Err(storage::Error::NoDigest(_)) => self.index.remove_tag(repository, tag),
            Err(error) => self.mark_stale(repository, &error.into()),
        }
    }

    /// Updates the index with the links that a digest has on disk. The caller holds the lock under which they change.
    pub(in crate::registry) fn reread_link(&self, repository: &Repository, digest: &Digest) {
        if let Err(error) = self.try_reread_link(repository, digest) {
            self.mark_stale(repository, &error);
        }
    }

    fn try_reread_link(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        let has = |kind| self.disk.has_link(repository, kind, digest);
        let (layer, revision) = (has(LinkKind::Layer)?, has(LinkKind::Revision)?);
        self.index.remove_link(repository, digest, Link { layer: !layer, revision: !revision, ..Link::default() });
        if layer || revision {
            self.index.linked(repository, digest, Link { layer, revision, ..Link::default() });
        }
        if revision && let Some(manifest) = stored_manifests::read_stored(self.disk, digest)? {
            manifests::note(self.index, repository, &manifest);
        }
        Ok(())
    }

    /// Removes a repository from the index if nothing is left of it on disk.
    pub(in crate::registry) fn delist_if_gone(&self, repository: &Repository) {
        match self.disk.links(repository).exists() {
            Ok(false) => self.index.remove_repository(repository),
            Ok(true) => return,
            Err(error) => return self.mark_stale(repository, &error.into()),
        }
        // A request that links something adds the repository after it made the link, so one of the two sees the other.
        match self.disk.links(repository).exists() {
            Ok(false) => {}
            Ok(true) => self.index.add_repository(repository),
            Err(error) => self.mark_stale(repository, &error.into()),
        }
    }

    /// Updates the index with the claim that a name has on disk. The caller holds the repository's lock.
    pub(in crate::registry) fn reread_claim(&self, repository: &Repository) {
        match links::claim(self.disk, repository) {
            Ok(Some(_)) => self.index.add_claim(repository),
            Ok(None) => self.index.remove_claim(repository),
            Err(error) => self.mark_stale(repository, &error.into()),
        }
    }

    fn mark_stale(&self, repository: &Repository, error: &Error) {
        tracing::warn!(%repository, %error, "links unknown after a failed change; rebuilding the index");
        self.index.mark_stale();
    }
}
