//! Changes mirrored tags on disk and in the index together, and only if the answer comes from a later request than the
//! one that the stored tag comes from.

use std::time::SystemTime;

use super::{blob_store::BlockingStore, links, tag_cache::is_later};
use crate::{
    oci::{Digest, Repository, Tag},
    registry::Error,
    storage::{Durability, DurableStore},
};

impl BlockingStore<'_> {
    /// Points a tag at a manifest linked in its repository. `asked` is the time of the request to the upstream.
    pub(in crate::registry) fn point_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        asked: SystemTime,
    ) -> Result<(), Error> {
        let _lock = self.protection.locks.tag(repository, tag);
        if self.has_later(repository, tag, asked)? {
            return Ok(());
        }
        if !links::tag_names(self.disk, repository, tag, digest)? {
            let set = self.disk.set_tag(repository, tag, digest, Durability::Unsynced);
            set.inspect_err(|_| self.reread_tag(repository, tag))?;
        }
        self.index.put_tag(repository, tag, *digest, asked);
        Ok(())
    }

    /// Drops a tag that its upstream does not have. `asked` is the time of the request.
    pub(in crate::registry) fn drop_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        asked: SystemTime,
    ) -> Result<(), Error> {
        let _lock = self.protection.locks.tag(repository, tag);
        if self.has_later(repository, tag, asked)? {
            return Ok(());
        }
        self.index.remove_tag(repository, tag);
        let removed = self.disk.remove_tag(repository, tag);
        Ok(removed.inspect_err(|_| self.reread_tag(repository, tag))?)
    }

    /// Drops a tag whose manifest is removed, unless it names another manifest by now.
    pub(in crate::registry) fn unlink_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        let _lock = self.protection.locks.tag(repository, tag);
        if links::tag_names(self.disk, repository, tag, digest)? {
            self.disk.remove_tag(repository, tag).inspect_err(|_| self.reread_tag(repository, tag))?;
            self.index.remove_tag(repository, tag);
        }
        Ok(())
    }

    /// Returns whether the stored tag comes from a later request. An answer whose manifest is not linked yet does not
    /// count: until it is linked, the newest linked manifest is the best one to serve.
    fn has_later(&self, repository: &Repository, tag: &Tag, asked: SystemTime) -> Result<bool, Error> {
        if self.tag_cache.is_purged_since(&(repository.clone(), tag.clone()), asked) {
            return Ok(true);
        }
        let linked = self.index.tag(repository, tag);
        if linked.is_some_and(|fact| is_later(fact.checked(), asked)) {
            return Ok(true);
        }
        let answer =
            self.tag_cache.answer(&(repository.clone(), tag.clone())).filter(|answer| is_later(answer.asked, asked));
        match answer.map(|answer| answer.head) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(head)) => Ok(links::tag_names(self.disk, repository, tag, &head.digest)?),
        }
    }
}
