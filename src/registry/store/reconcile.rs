//! The index after a change of the disk that failed. A name is synced last, so that a link may be there, or gone, although its
//! call failed. The disk is read again then, and the index told; where it cannot be read, all of the index is in doubt until it
//! is told anew, and requests look on disk.

use std::time::SystemTime;

use super::{blob_store::BlobStore, manifests, stored_manifests};
use crate::{
    index::{Link, Owner},
    oci::{Digest, Repository, Tag},
    registry::Error,
    storage,
};

impl BlobStore {
    /// Tells the index what a tag names on disk. The caller holds the lock that it is changed under.
    pub(in crate::registry) fn reread_tag(&self, repository: &Repository, tag: &Tag) {
        match self.storage.links(repository).tag(tag) {
            Ok(Some(digest)) => {
                // Of an upstream's tag it is not known when that was last right: it counts as stale.
                let hosted = repository.domain.is_none();
                let checked = if hosted { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
                self.index.put_tag(repository, tag, digest, checked);
            }
            // A damaged link is looked for on disk when it is asked for.
            Ok(None) | Err(storage::Error::NoDigest(_)) => self.index.remove_tag(repository, tag),
            Err(error) => self.doubt(repository, &error.into()),
        }
    }

    /// Tells the index how a digest belongs to a repository by the disk. The caller holds the lock that it is changed under.
    pub(in crate::registry) fn reread_link(&self, repository: &Repository, digest: &Digest) {
        if let Err(error) = self.try_reread_link(repository, digest) {
            self.doubt(repository, &error);
        }
    }

    fn try_reread_link(&self, repository: &Repository, digest: &Digest) -> Result<(), Error> {
        let links = self.storage.links(repository);
        let (layer, revision) = (links.has_layer(digest)?, links.has_revision(digest)?);
        self.index.remove_link(repository, digest, Link { layer: !layer, revision: !revision, ..Link::default() });
        if layer || revision {
            self.index.add_link(repository, digest, Link { layer, revision, ..Link::default() });
        }
        if (layer || revision) && repository.domain.is_none() {
            self.index.set_owner(digest, Owner::Hosted);
        }
        if revision && let Some(manifest) = stored_manifests::read_stored(&self.storage, digest)? {
            manifests::note(&self.index, repository, &manifest);
        }
        Ok(())
    }

    /// Tells the index whether a name is claimed by the disk. The caller holds the repository's lock.
    pub(in crate::registry) fn reread_claim(&self, repository: &Repository) {
        match self.storage.links(repository).claim() {
            Ok(Some(_)) => self.index.add_claim(repository),
            Ok(None) => self.index.remove_claim(repository),
            Err(error) => self.doubt(repository, &error.into()),
        }
    }

    fn doubt(&self, repository: &Repository, error: &Error) {
        tracing::warn!(%repository, %error, "what a failed change left is not known: the index is told anew");
        self.index.doubt();
    }
}
