//! What is where, for answering without a walk of the disk: the only user of sled.
//!
//! Derived from storage and disposable. It may be behind the disk and it may be empty; it is never the reason an answer
//! is wrong: "not in here" means "look on disk". So nothing in this room returns an error: a database that fails is
//! set aside, told once, and every question is answered with "I do not know" from then on.

mod database;
mod keys;
mod values;

use std::{path::Path, time::SystemTime};

use database::Database;
pub use values::{Link, Object, TagFact};

use crate::oci::{Digest, Repository, Tag};

/// The index of one data directory. Every call is short: memory, or a page read.
#[derive(Debug)]
pub struct Index {
    database: Database,
}

impl Index {
    /// Opens the index in the folder `dir`. One that is missing, damaged or of another version is begun anew and has to
    /// be [rebuilt](Index::is_complete).
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self { database: Database::open(dir) }
    }

    /// Whether everything on disk has been told to it. While it is not, "I do not know" says nothing at all.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.database.get(|trees| &trees.meta, keys::COMPLETE).is_some()
    }

    /// Says that everything on disk has been told.
    pub fn set_complete(&self) {
        self.database.put(|trees| &trees.meta, keys::COMPLETE, &[]);
    }

    /// What is known of a blob's bytes.
    #[must_use]
    pub fn object(&self, digest: &Digest) -> Option<Object> {
        Object::decode(&self.database.get(|trees| &trees.objects, &keys::digest(digest))?)
    }

    /// Notes what a blob's file looks like, after its bytes were hashed.
    pub fn put_object(&self, digest: &Digest, object: &Object) {
        self.database.put(|trees| &trees.objects, &keys::digest(digest), &object.encode());
    }

    /// Forgets a blob's bytes.
    pub fn remove_object(&self, digest: &Digest) {
        self.database.remove(|trees| &trees.objects, &keys::digest(digest));
    }

    /// How a digest belongs to a repository; `None` when it does not, as far as is known.
    #[must_use]
    pub fn link(&self, repository: &Repository, digest: &Digest) -> Option<Link> {
        Link::decode(&self.database.get(|trees| &trees.links, &keys::link(repository, digest))?)
    }

    /// Notes that a digest belongs to a repository, adding to what was known of the pair.
    pub fn add_link(&self, repository: &Repository, digest: &Digest, link: Link) {
        let key = keys::link(repository, digest);
        self.database.merge(
            |trees| &trees.links,
            &key,
            |old| match old.and_then(Link::decode) {
                Some(old) => old.and(link).encode(),
                None => link.encode(),
            },
        );
    }

    /// What a tag named when it was last looked at.
    #[must_use]
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Option<TagFact> {
        TagFact::decode(&self.database.get(|trees| &trees.tags, &keys::tag(repository, tag))?)
    }

    /// Notes what a tag names, as of `checked`.
    pub fn put_tag(&self, repository: &Repository, tag: &Tag, digest: Digest, checked: SystemTime) {
        let fact = TagFact::new(digest, checked);
        self.database.put(|trees| &trees.tags, &keys::tag(repository, tag), &fact.encode());
    }

    /// Forgets a tag.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) {
        self.database.remove(|trees| &trees.tags, &keys::tag(repository, tag));
    }

    /// Brings what was noted to disk; done at a clean stop. Not needed for any answer to be right.
    pub fn flush(&self) {
        self.database.flush();
    }
}

#[cfg(test)]
mod tests;
