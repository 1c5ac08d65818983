//! Queries by blob: its record, the repositories that link it, and the cached manifests that reference it. Also records
//! these references; `transitions.rs` changes the records.

use std::{iter, sync::atomic::Ordering};

use super::{BlobEntry, Index, Link, Origins, Role, VerifiedStamp, blob_record::BlobRecord, keys};
use crate::oci::{Digest, Repository};

/// At most so many of the manifests that name a blob are read.
pub(super) const MAX_NAMING_MANIFESTS: usize = 64;

/// The largest number of records that a scan of all of them reads at a time.
const BATCH_RECORDS: usize = 1000;

impl Index {
    /// Returns all that is known of a blob.
    pub(super) fn record(&self, digest: &Digest) -> BlobRecord {
        let value = self.database.get(|trees| &trees.blobs, &keys::digest(digest));
        value.and_then(|value| BlobRecord::decode(&value)).unwrap_or_default()
    }

    /// Returns the state of a blob's file when its bytes were last verified; `None` if they have to be hashed.
    #[must_use]
    pub fn stamp(&self, digest: &Digest) -> Option<VerifiedStamp> {
        let epoch = self.epoch.load(Ordering::Acquire);
        self.record(digest).stamp.filter(|known| known.epoch == epoch).map(|known| known.stamp)
    }

    /// Returns the known origin of a blob's bytes.
    #[must_use]
    pub fn origins(&self, digest: &Digest) -> Origins {
        self.record(digest).origins
    }

    /// Returns the entry of a blob on disk.
    #[must_use]
    pub fn blob_entry(&self, digest: &Digest) -> Option<BlobEntry> {
        self.record(digest).entry
    }

    /// Calls `each` with every entry and then `done`, while no entry can change.
    pub fn count(&self, mut each: impl FnMut(&BlobEntry), done: impl FnOnce()) {
        let _lock = self.queue.lock.lock();
        self.upstream_totals.recount(|sum| {
            let mut both = |entry: &BlobEntry| {
                each(entry);
                sum(entry);
            };
            let visit = |_: &[u8], value: &[u8]| {
                BlobRecord::decode(value).and_then(|record| record.entry).iter().for_each(&mut both);
                true
            };
            self.database.scan(|trees| &trees.blobs, &[], visit);
        });
        done();
    }

    /// Returns the blobs with an entry, sorted by digest, in batches of up to 1000. A batch is read when it is asked
    /// for, so entries may change between two of them.
    pub fn blob_batches(&self) -> impl Iterator<Item = Vec<Digest>> {
        let mut after = None;
        iter::from_fn(move || {
            let batch = self.blobs_after(after.as_ref());
            after = Some(*batch.last()?);
            Some(batch)
        })
    }

    /// Returns the next blobs after `after`: none only at the end.
    fn blobs_after(&self, after: Option<&Digest>) -> Vec<Digest> {
        let mut after = after.map(keys::digest).unwrap_or_default();
        loop {
            let page = self.database.pairs(|trees| &trees.blobs, &[], &after, BATCH_RECORDS).unwrap_or_default();
            let has_entry = |value: &[u8]| BlobRecord::decode(value).is_some_and(|record| record.entry.is_some());
            let found = page.iter().filter(|(_, value)| has_entry(value));
            let found: Vec<_> = found.filter_map(|(key, _)| keys::to_digest(key)).collect();
            match page.last() {
                // Records without an entry are rare, but a page may have no others.
                Some((last, _)) if found.is_empty() => after.clone_from(last),
                _ => return found,
            }
        }
    }

    /// Returns the digests that a repository is known to have a relation to, sorted, in batches of up to 1000. A batch
    /// is read when it is asked for.
    pub fn link_batches(&self, repository: &Repository) -> impl Iterator<Item = Vec<(Digest, Link)>> {
        let (prefix, mut after) = (keys::prefix(repository), Vec::new());
        iter::from_fn(move || {
            let page = self.database.pairs(|trees| &trees.links, &prefix, &after, BATCH_RECORDS)?;
            after.clone_from(&page.last()?.0);
            let read = |(key, value): &(Vec<u8>, Vec<u8>)| Some((keys::to_digest(key)?, Link::decode(value)?));
            Some(page.iter().filter_map(read).collect())
        })
    }

    /// Returns the repositories known to link a blob.
    #[must_use]
    pub fn holders(&self, digest: &Digest) -> Vec<Repository> {
        let found = self.database.keys(|trees| &trees.holders, &keys::holders(digest), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_repository(key)).collect()
    }

    /// Records that a cached manifest names a blob.
    pub fn add_parent(&self, child: &Digest, parent: &Digest, role: Role) {
        self.database.put(|trees| &trees.parents, &keys::parent(child, parent), &[role as u8]);
        self.reposition(child);
    }

    /// Records that a manifest that named a blob is no longer cached.
    pub fn remove_parent(&self, child: &Digest, parent: &Digest) {
        self.database.remove(|trees| &trees.parents, &keys::parent(child, parent));
        self.reposition(child);
    }

    /// Returns whether a manifest of a mirrored repository names a blob. Reads the first `MAX_NAMING_MANIFESTS`
    /// manifests that do: of a base layer that more of them name, it is assumed.
    #[must_use]
    pub fn is_named(&self, repository: &Repository, child: &Digest) -> bool {
        let parents = self.database.keys(|trees| &trees.parents, &keys::parents(child), &[], MAX_NAMING_MANIFESTS);
        let parents = parents.unwrap_or_default();
        let is_here = |parent: &Digest| self.link(repository, parent).is_some_and(|link| link.revision);
        parents.len() == MAX_NAMING_MANIFESTS
            || parents.iter().filter_map(|key| keys::to_digest(key)).any(|parent| is_here(&parent))
    }

    /// Returns the cached manifests that name a blob.
    #[must_use]
    pub fn parents(&self, child: &Digest) -> Vec<Digest> {
        let found = self.database.keys(|trees| &trees.parents, &keys::parents(child), &[], usize::MAX);
        found.unwrap_or_default().iter().filter_map(|key| keys::to_digest(key)).collect()
    }
}
