//! An index over the blobs, links and tags on disk, to answer requests without a walk. The only user of sled.
//!
//! It is derived from storage and disposable. It may be behind the disk or empty, and it never makes an answer wrong:
//! "not in the index" means "look on disk". Therefore no call here returns an error. A database that fails is logged
//! once and set aside, and every question is answered with "not known" from then on.

mod activity;
mod blob_entry;
mod blob_record;
mod blobs;
mod conversion;
mod database;
mod dump;
mod eviction_queue;
mod keys;
mod lifecycle;
mod name_claims;
mod past_uses;
mod transitions;
mod trees;
mod upstream_totals;
mod values;

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::SystemTime,
};

pub use activity::{Activity, Period};
pub use blob_entry::{BlobEntry, BlobKind, EntryChange, Owner, Role, Tier, Uses};
pub use database::Absent;
use database::Database;
use eviction_queue::EvictionQueue;
pub use eviction_queue::{Deferred, EvictionOrder, QueuePosition, Requeue};
pub use lifecycle::Closing;
use parking_lot::Mutex;
pub use past_uses::PastUse;
pub use transitions::Arrival;
use trees::Trees;
use upstream_totals::UpstreamTotals;
pub use upstream_totals::{Amount, UpstreamUsage};
pub use values::{LedgerTotals, Link, Origins, SignedAmount, TagRecord, VerifiedStamp};

use crate::oci::{Digest, Domain, Repository, RepositoryName, Tag};

/// The index of one data directory. No call takes longer than a page read.
#[derive(Debug)]
pub struct Index {
    database: Database,
    queue: EvictionQueue,
    upstream_totals: UpstreamTotals,
    /// The number of unclean ends of the machine. Files recorded in an earlier epoch are not trusted.
    epoch: AtomicU32,
    complete: AtomicBool,
    /// Set if something changed on disk that could not be read again.
    stale: AtomicBool,
    was_complete: AtomicBool,
    totals: Mutex<Option<LedgerTotals>>,
}

impl Index {
    /// Stores the pinned patterns. Returns whether they differ from those of the last call.
    pub fn replace_pins(&self, patterns: &str) -> bool {
        let before = self.database.get(|trees| &trees.meta, keys::PINNED);
        self.database.put(|trees| &trees.meta, keys::PINNED, patterns.as_bytes());
        before.is_none_or(|before| before != patterns.as_bytes())
    }

    /// Forgets all hosted repositories, before they are indexed again.
    pub fn forget_hosted(&self) {
        let own = keys::home(None);
        self.database.remove_all(|trees| &trees.links, &own);
        self.database.remove_all(|trees| &trees.tags, &own);
        self.database.remove_all(|trees| &trees.referrers, &own);
        self.database.remove_all(|trees| &trees.repositories, &own);
        self.database.remove_all(|trees| &trees.claims, &own);
    }

    /// Returns whether everything on disk was indexed since the index was opened. Until then "not known" proves
    /// nothing, and entries of hosted repositories may be out of date.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire) && !self.database.has_failed()
    }

    /// Marks the index as complete, unless [`Index::mark_stale`] was called meanwhile.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::SeqCst);
        if self.is_stale() {
            self.set_incomplete();
        }
    }

    /// Records that something on disk changed in a way that is not known.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::SeqCst);
        self.set_incomplete();
    }

    /// Returns whether [`Index::mark_stale`] was called since the last [`Index::begin_walk`].
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::SeqCst)
    }

    /// Begins a walk of everything on disk, which finds all earlier changes.
    pub fn begin_walk(&self) {
        self.stale.store(false, Ordering::SeqCst);
    }

    /// Records that something on disk could not be indexed.
    pub fn set_incomplete(&self) {
        self.complete.store(false, Ordering::SeqCst);
    }

    /// Returns the known relation of a digest to a repository; `None` if there is none.
    #[must_use]
    pub fn link(&self, repository: &Repository, digest: &Digest) -> Option<Link> {
        Link::decode(&self.database.get(|trees| &trees.links, &keys::link(repository, digest))?)
    }

    /// Adds `link` to the known relation of a digest to a repository. It says nothing of the blob: a link that
    /// was made or found is recorded with [`Index::linked`].
    pub fn add_link(&self, repository: &Repository, digest: &Digest, link: Link) {
        self.put_link(repository, digest, link);
        if link.layer || link.revision {
            self.attribute(digest, repository);
        }
    }

    fn put_link(&self, repository: &Repository, digest: &Digest, link: Link) {
        let key = keys::link(repository, digest);
        self.database.change(
            |trees| &trees.links,
            &key,
            |old| Some(old.and_then(Link::decode).unwrap_or_default().and(link).encode()),
        );
        if link.layer || link.revision {
            self.database.put(|trees| &trees.holders, &keys::holder(digest, repository), &[]);
        }
    }

    /// Returns the digest that a tag is known to name.
    #[must_use]
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Option<TagRecord> {
        TagRecord::decode(&self.database.get(|trees| &trees.tags, &keys::tag(repository, tag))?)
    }

    /// Records the digest that a tag names, as of `checked`.
    pub fn put_tag(&self, repository: &Repository, tag: &Tag, digest: Digest, checked: SystemTime) {
        let fact = TagRecord::new(digest, checked);
        self.database.put(|trees| &trees.tags, &keys::tag(repository, tag), &fact.encode());
    }

    /// Forgets a tag.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) {
        self.database.remove(|trees| &trees.tags, &keys::tag(repository, tag));
    }

    /// Removes `link` from the known relation of a digest to a repository.
    pub fn remove_link(&self, repository: &Repository, digest: &Digest, link: Link) {
        let key = keys::link(repository, digest);
        let rest = |old: Option<&[u8]>| Some(old.and_then(Link::decode)?.without(link)?.encode());
        self.database.change(|trees| &trees.links, &key, rest);
        if self.link(repository, digest).is_none_or(|left| !left.layer && !left.revision) {
            self.database.remove(|trees| &trees.holders, &keys::holder(digest, repository));
            self.unattribute(digest, repository);
        }
    }

    /// Returns whether a repository is known to exist.
    #[must_use]
    pub fn has_repository(&self, repository: &Repository) -> bool {
        self.database.get(|trees| &trees.repositories, &keys::repository(repository)).is_some()
    }

    /// Records that a repository exists.
    pub fn add_repository(&self, repository: &Repository) {
        self.database.put(|trees| &trees.repositories, &keys::repository(repository), &[]);
    }

    /// Returns the names of hosted repositories, or of those of one upstream, that come after `after`, in byte order,
    /// `limit` at most. `None` if the index is incomplete.
    #[must_use]
    pub fn repositories(&self, home: Option<&Domain>, after: &str, limit: usize) -> Option<Vec<RepositoryName>> {
        let found = self.page(|trees| &trees.repositories, &keys::home(home), after, limit)?;
        Some(found.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Returns the repositories that come after `after`, `limit` at most: hosted ones first, then those of each
    /// upstream, in byte order. `None` if the index is incomplete.
    #[must_use]
    pub fn all_repositories(&self, after: Option<&Repository>, limit: usize) -> Option<Vec<Repository>> {
        if !self.is_complete() {
            return None;
        }
        let after = after.map(keys::repository).unwrap_or_default();
        let found = self.database.keys(|trees| &trees.repositories, &[], &after, limit)?;
        Some(found.iter().filter_map(|key| keys::to_repository(key)).collect())
    }

    /// Returns the tags of a repository that come after `after`, in byte order, `limit` at most. `None` if the index is
    /// incomplete.
    #[must_use]
    pub fn tags(&self, repository: &Repository, after: &str, limit: usize) -> Option<Vec<Tag>> {
        let found = self.page(|trees| &trees.tags, &keys::prefix(repository), after, limit)?;
        Some(found.iter().filter_map(|tag| tag.parse().ok()).collect())
    }

    /// Returns the manifests of a repository that refer to `subject` and come after `after`, `limit` at most. `None` if
    /// the index is incomplete.
    #[must_use]
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        after: &str,
        limit: usize,
    ) -> Option<Vec<Digest>> {
        let found = self.page(|trees| &trees.referrers, &keys::referrers(repository, subject), after, limit)?;
        Some(found.iter().filter_map(|digest| digest.parse().ok()).collect())
    }

    /// As [`Index::referrers`], each with its note, which may be empty.
    #[must_use]
    pub fn noted_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        after: &str,
        limit: usize,
    ) -> Option<Vec<(Digest, Vec<u8>)>> {
        if !self.is_complete() {
            return None;
        }
        let prefix = keys::referrers(repository, subject);
        let found = self.database.pairs(|trees| &trees.referrers, &prefix, after.as_bytes(), limit)?;
        let read = |(key, note): (Vec<u8>, Vec<u8>)| Some((String::from_utf8(key).ok()?.parse().ok()?, note));
        Some(found.into_iter().filter_map(read).collect())
    }

    /// Records that one manifest of a repository refers to another, with a note of the caller's.
    pub fn add_referrer(&self, repository: &Repository, subject: &Digest, digest: &Digest, note: &[u8]) {
        self.database.put(|trees| &trees.referrers, &keys::referrer(repository, subject, digest), note);
    }

    /// Replaces the note on a referrer, if it still is one.
    pub fn note_referrer(&self, repository: &Repository, subject: &Digest, digest: &Digest, note: &[u8]) {
        let key = keys::referrer(repository, subject, digest);
        self.database.change(|trees| &trees.referrers, &key, |old| old.map(|_| note.to_vec()));
    }

    /// Forgets that one manifest of a repository refers to another.
    pub fn remove_referrer(&self, repository: &Repository, subject: &Digest, digest: &Digest) {
        self.database.remove(|trees| &trees.referrers, &keys::referrer(repository, subject, digest));
    }

    fn page(
        &self,
        tree: impl Fn(&Trees) -> &sled::Tree,
        prefix: &[u8],
        after: &str,
        limit: usize,
    ) -> Option<Vec<String>> {
        if !self.is_complete() {
            return None;
        }
        let found = self.database.keys(tree, prefix, after.as_bytes(), limit)?;
        Some(found.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect())
    }
}

#[cfg(test)]
mod tests;
