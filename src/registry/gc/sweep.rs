//! What nothing reaches, removed, while pushes and pulls go on: manifests without a
//! tag where that is asked for, blobs that no manifest of their repository names,
//! then bytes that no repository links.
//!
//! Nothing goes that somebody may be about to name: a repository that was pushed to within the grace keeps all it
//! links, and so does a blob that somebody brought or was told of (`gc_guard.rs`). Links go before bytes (law 2), each
//! by itself and under its locks, so that killing it loses nothing but time. On a volume that no server has open, the
//! same runs alone.

use std::{collections::HashSet, time::Duration};

use super::mark::Plan;
use crate::{
    index::Link,
    metrics,
    oci::{Digest, Repository},
    registry::{
        Error, ProgressCallback,
        store::{
            blob_store::BlobStore,
            gc_guard::{Recent, short},
        },
    },
    storage::{self, Durability, RepositoryLinks},
};

/// What to collect.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// Remove manifests that no tag reaches, too.
    pub untagged: bool,
    /// Only say what would go.
    pub dry: bool,
    /// How long what nothing names yet is left alone after the last push to its repository.
    pub grace: Duration,
}

/// What a collection comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcEvent {
    /// A repository was looked through.
    Repository,
    /// A manifest left its repository, or would.
    Manifest(Repository, Digest),
    /// A blob was removed, or would be: its digest, and its length in bytes.
    Blob(Digest, u64),
}

/// What went, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests that left their repository.
    pub manifests: u64,
    /// Blobs that left theirs.
    pub links: u64,
    /// Blobs whose bytes were removed.
    pub blobs: u64,
    /// How many bytes these had.
    pub bytes: u64,
    /// Repositories left alone, since they were pushed to within the grace.
    pub active: u64,
}

/// A link that comes back after a power cut is found by the next collection; all of them are synced before bytes go.
const UNSYNCED: Durability = Durability::Unsynced;

struct Collector<'a> {
    store: &'a BlobStore,
    collection: Collection,
    recent: Recent,
    /// What stays, by the first bytes of its digest: a million blobs are a few megabytes, and two that share them only
    /// keep each other.
    hosted: HashSet<u64>,
    mirrored: HashSet<u64>,
    collected: Collected,
    tell: ProgressCallback<'a, GcEvent>,
}

impl Collection {
    /// Walks the volume and removes what nothing reaches. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::UnderWay`]; [`Error::Abandoned`] when `tell` wants no more; or as the disk fails. What went until then
    /// is gone.
    pub(in crate::registry) fn run(
        self,
        store: &BlobStore,
        tell: ProgressCallback<'_, GcEvent>,
    ) -> Result<Collected, Error> {
        let under_way = store.gc_guard.collect(self.grace).ok_or(Error::UnderWay)?;
        let mut collector = Collector {
            store,
            collection: self,
            recent: under_way.recent,
            hosted: HashSet::new(),
            mirrored: HashSet::new(),
            collected: Collected::default(),
            tell,
        };
        // What could not be looked at may link anything: no bytes go unless every repository was gone through.
        for repository in store.storage.repositories() {
            collector.repository(&repository?)?;
            collector.say(GcEvent::Repository)?;
        }
        collector.bytes()?;
        if !self.dry {
            store.metrics.found(metrics::MaintenanceEvent::CollectEnded);
        }
        Ok(collector.collected)
    }
}

impl Collector<'_> {
    fn say(&mut self, found: GcEvent) -> Result<(), Error> {
        if (self.tell)(found).is_break() { Err(Error::Abandoned) } else { Ok(()) }
    }

    fn count(&self, kind: metrics::Collected, bytes: u64) {
        if !self.collection.dry {
            self.store.metrics.found(metrics::MaintenanceEvent::Collected(kind, bytes));
        }
    }

    /// Takes out of a repository what nothing reaches there, and notes what stays. A mirrored repository keeps all it
    /// has: what it links can be asked for again by digest.
    fn repository(&mut self, repository: &Repository) -> Result<(), Error> {
        let links = self.store.storage.links(repository);
        if repository.domain.is_some() {
            for digest in links.all() {
                self.mirrored.insert(short(&digest?));
            }
            return Ok(());
        }
        let active = self.store.gc_guard.is_active(repository, self.recent);
        let touched = |digest: &Digest| !active && self.store.gc_guard.is_protected(digest, self.recent);
        let plan = Plan::make(&self.store.storage, repository, self.collection.untagged, touched)?;
        let mut gone = HashSet::new();
        if active {
            self.collected.active += u64::from(!plan.is_empty());
        } else {
            self.prune_claimed(repository, &links, &plan, &mut gone)?;
        }
        for digest in links.all() {
            let digest = digest?;
            // A dry run leaves everything; otherwise the disk tells what is left.
            if !(self.collection.dry && gone.contains(&digest)) {
                self.hosted.insert(short(&digest));
            }
        }
        self.hosted.extend(plan.named.iter().map(short));
        Ok(())
    }

    /// As [`Collector::prune`]: the name stays claimed, and leaves the catalog where no manifest is left.
    fn prune_claimed(
        &mut self,
        repository: &Repository,
        links: &RepositoryLinks,
        plan: &Plan,
        gone: &mut HashSet<Digest>,
    ) -> Result<(), Error> {
        if plan.manifests.is_empty() || self.collection.dry {
            return self.prune(repository, links, plan, true, gone);
        }
        let store = self.store;
        let locked = || store.locks.repository(repository);
        let claimed = {
            let _repository = locked();
            store.keep_claim(repository)?
        };
        self.prune(repository, links, plan, claimed, gone)?;
        let _repository = locked();
        store.delist_if_empty(repository)
    }

    /// Removes what is planned, until somebody enters the repository or asks for one of these manifests: then it stops,
    /// for what was planned after it may be wanted too. Where the name's claim is not written down, the first manifest
    /// becomes it.
    fn prune(
        &mut self,
        repository: &Repository,
        links: &RepositoryLinks,
        plan: &Plan,
        mut claimed: bool,
        gone: &mut HashSet<Digest>,
    ) -> Result<(), Error> {
        for (tag, digest) in &plan.previous_tags {
            if !self.unlink(repository, digest, Link::default(), || links.remove_previous_tag(tag, digest, UNSYNCED))? {
                return Ok(());
            }
        }
        for (digest, subject) in &plan.manifests {
            let link = Link { revision: true, named: Some(0), ..Link::default() };
            let remove = || match std::mem::replace(&mut claimed, true) {
                true => links.remove_revision(digest, UNSYNCED),
                false => links.turn_into_claim(digest),
            };
            if !self.unlink(repository, digest, link, remove)? {
                return Ok(());
            }
            if let (Some(subject), false) = (subject, self.collection.dry) {
                self.store.index.remove_referrer(repository, subject, digest);
            }
            gone.insert(*digest);
            self.collected.manifests += 1;
            self.count(metrics::Collected::Manifest, 0);
            self.say(GcEvent::Manifest(repository.clone(), *digest))?;
        }
        for digest in &plan.layers {
            let link = Link { layer: true, named: Some(0), ..Link::default() };
            if self.unlink(repository, digest, link, || links.remove_layer(digest, UNSYNCED))? {
                gone.insert(*digest);
                self.collected.links += 1;
            }
        }
        Ok(())
    }

    /// Removes a link, unless its repository or its blob is in use since a moment. `false` then.
    fn unlink(
        &self,
        repository: &Repository,
        digest: &Digest,
        link: Link,
        remove: impl FnOnce() -> Result<(), storage::Error>,
    ) -> Result<bool, Error> {
        let BlobStore { locks, gc_guard, index, .. } = self.store;
        let _repository = locks.repository(repository);
        let _digest = locks.digest(digest);
        if self.collection.dry {
            return Ok(!gc_guard.is_protected(digest, self.recent));
        }
        let removed = gc_guard.unless_recent(Some(repository), digest, self.recent, || {
            // Both before anybody else may look, who asks the index first.
            index.remove_link(repository, digest, link);
            remove().inspect_err(|_| self.store.reread_link(repository, digest))
        });
        removed.transpose().map(|removed| removed.is_some()).map_err(Error::from)
    }

    /// Removes the bytes that no repository links any more.
    fn bytes(&mut self) -> Result<(), Error> {
        let store = self.store;
        if !self.collection.dry {
            store.storage.sync()?;
        }
        for blob in store.storage.blobs() {
            let (digest, size) = blob?;
            let key = short(&digest);
            // What is open and removed goes on taking room that nobody counts.
            if self.hosted.contains(&key) || store.access_tracker.is_read(&digest) {
                continue;
            }
            let claim = store.locks.digest(&digest);
            let (dry, cached) = (self.collection.dry, self.mirrored.contains(&key));
            let removed = store.gc_guard.unless_recent(None, &digest, self.recent, || match (dry, cached) {
                (true, _) => Ok(()),
                (false, true) => {
                    store.demote_to_mirrored(&digest);
                    Ok(())
                }
                (false, false) => store.remove_bytes(&digest),
            });
            if cached || removed.transpose()?.is_none() {
                continue;
            }
            self.collected.blobs += 1;
            self.collected.bytes += size;
            self.count(metrics::Collected::Blob, size);
            drop(claim);
            self.say(GcEvent::Blob(digest, size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
