//! The sweep phase of garbage collection, which runs beside pushes and pulls. It removes untagged manifests if
//! requested, blobs that no manifest of their repository names, then bytes that no repository links.
//!
//! Content that a push may be about to name stays: all links of a repository that was pushed to in the grace period,
//! and blobs under a guard (`gc_guard.rs`). Links are removed before bytes (law 2 of ARCHITECTURE.md), each under its
//! own locks, so a crash loses nothing. The same code runs on a volume that no server has open.

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

/// The options of a collection.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// Removes manifests that no tag reaches, too.
    pub untagged: bool,
    /// Only reports the removals.
    pub dry: bool,
    /// The grace period after the last push to a repository, in which its content stays.
    pub grace: Duration,
}

/// An event of a collection, passed to the progress callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcEvent {
    /// A repository was processed.
    Repository,
    /// A manifest was removed from its repository, or would be.
    Manifest(Repository, Digest),
    /// A blob was removed, or would be: its digest and its length in bytes.
    Blob(Digest, u64),
}

/// The totals of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests removed from their repository.
    pub manifests: u64,
    /// Blobs removed from their repository.
    pub links: u64,
    /// Blobs whose bytes were removed.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub bytes: u64,
    /// Repositories left alone because of a push in the grace period.
    pub active: u64,
}

/// Unsynced, because the next collection finds a link that reappears after a power failure. All are synced before bytes
/// go.
const UNSYNCED: Durability = Durability::Unsynced;

struct Collector<'a> {
    store: &'a BlobStore,
    collection: Collection,
    recent: Recent,
    /// The remaining references, as the first eight bytes of digests: some megabytes for a million blobs. A collision
    /// only keeps one blob more.
    hosted: HashSet<u64>,
    mirrored: HashSet<u64>,
    collected: Collected,
    on_event: ProgressCallback<'a, GcEvent>,
}

impl Collection {
    /// Collects the garbage of a volume. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::UnderWay`] while another collection runs, [`Error::Cancelled`] if `on_event` cancels this one,
    /// [`Error::Storage`] if the disk fails. Removals made before that remain.
    pub(in crate::registry) fn run(
        self,
        store: &BlobStore,
        on_event: ProgressCallback<'_, GcEvent>,
    ) -> Result<Collected, Error> {
        let under_way = store.gc_guard.collect(self.grace).ok_or(Error::UnderWay)?;
        let mut collector = Collector {
            store,
            collection: self,
            recent: under_way.recent,
            hosted: HashSet::new(),
            mirrored: HashSet::new(),
            collected: Collected::default(),
            on_event,
        };
        // An unreadable repository may link anything: bytes are removed only after every repository was read.
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
        if (self.on_event)(found).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn count(&self, kind: metrics::Collected, bytes: u64) {
        if !self.collection.dry {
            self.store.metrics.found(metrics::MaintenanceEvent::Collected(kind, bytes));
        }
    }

    /// Prunes a repository and records the references that remain. A mirrored repository keeps all its links, since
    /// clients may request them by digest.
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
            // After a dry run the links are still there; otherwise the disk has only the remaining ones.
            if !(self.collection.dry && gone.contains(&digest)) {
                self.hosted.insert(short(&digest));
            }
        }
        self.hosted.extend(plan.named.iter().map(short));
        Ok(())
    }

    /// As [`Collector::prune`]; keeps the name claimed, and removes a repository without manifests from the catalog.
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

    /// Carries out the plan until the repository or one of these manifests is used: then it stops, because the rest of
    /// the plan may be outdated. If the claim could not be written, the first manifest removed becomes the claim.
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

    /// Removes a link; returns `false` if its repository or its blob was used recently.
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
            // The index first, since requests read it before the disk.
            index.remove_link(repository, digest, link);
            remove().inspect_err(|_| self.store.reread_link(repository, digest))
        });
        removed.transpose().map(|removed| removed.is_some()).map_err(Error::from)
    }

    /// Removes the bytes that no repository links.
    fn bytes(&mut self) -> Result<(), Error> {
        let store = self.store;
        if !self.collection.dry {
            store.storage.sync()?;
        }
        for blob in store.storage.blobs() {
            let (digest, size) = blob?;
            let key = short(&digest);
            // An open file that is removed still occupies space that is not counted.
            if self.hosted.contains(&key) || store.access_tracker.is_read(&digest) {
                continue;
            }
            let lock = store.locks.digest(&digest);
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
            drop(lock);
            self.say(GcEvent::Blob(digest, size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
