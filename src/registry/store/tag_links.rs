//! A mirrored tag on disk and in the index. The two change here, together, and only for the answer to a question that was
//! asked later than the one they stand for.

use std::time::SystemTime;

use super::{blob_store::BlobStore, tag_cache::is_later};
use crate::{
    oci::{Digest, Repository, Tag},
    registry::Error,
    storage::Durability,
};

impl BlobStore {
    /// Points a tag at a manifest that is linked in its repository, as its upstream said when it was `asked`.
    pub(in crate::registry) fn point_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        asked: SystemTime,
    ) -> Result<(), Error> {
        let _claim = self.locks.tag(repository, tag);
        if self.has_later(repository, tag, asked)? {
            return Ok(());
        }
        let links = self.storage.links(repository);
        if !links.names(tag, digest)? {
            links.set_tag(tag, digest, Durability::Unsynced).inspect_err(|_| self.reread_tag(repository, tag))?;
        }
        self.index.put_tag(repository, tag, *digest, asked);
        Ok(())
    }

    /// Drops a tag that its upstream did not have when it was `asked`.
    pub(in crate::registry) fn drop_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        asked: SystemTime,
    ) -> Result<(), Error> {
        let _claim = self.locks.tag(repository, tag);
        if self.has_later(repository, tag, asked)? {
            return Ok(());
        }
        self.index.remove_tag(repository, tag);
        let removed = self.storage.links(repository).remove_tag(tag);
        Ok(removed.inspect_err(|_| self.reread_tag(repository, tag))?)
    }

    /// Drops a tag whose manifest goes, unless it names another by now.
    pub(in crate::registry) fn unlink_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        let _claim = self.locks.tag(repository, tag);
        let links = self.storage.links(repository);
        if links.names(tag, digest)? {
            links.remove_tag(tag).inspect_err(|_| self.reread_tag(repository, tag))?;
            self.index.remove_tag(repository, tag);
        }
        Ok(())
    }

    /// Whether a tag is as a later question found it. What is only heard of, and not linked yet, does not count: until it is,
    /// the newest that is here is the best there is.
    fn has_later(&self, repository: &Repository, tag: &Tag, asked: SystemTime) -> Result<bool, Error> {
        let linked = self.index.tag(repository, tag);
        if linked.is_some_and(|fact| is_later(fact.checked(), asked)) {
            return Ok(true);
        }
        let word = self.tag_cache.answer(&(repository.clone(), tag.clone())).filter(|word| is_later(word.asked, asked));
        match word.map(|word| word.head) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(head)) => Ok(self.storage.links(repository).names(tag, &head.digest)?),
        }
    }
}
