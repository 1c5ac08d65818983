//! The sweep phase of garbage collection, which runs beside pushes and pulls. It removes untagged manifests if
//! requested, blobs that no manifest of their repository names, then bytes that no repository links.
//!
//! Content that a push may be about to name stays: what was uploaded, mounted or found by a HEAD in the grace period,
//! and what is under a guard (`gc_guard.rs`). Links are removed before bytes (law 2 of ARCHITECTURE.md), each under its
//! own locks, so a crash loses nothing. The same code runs on a volume that no server has open.

use std::{collections::HashSet, time::Duration};

use super::mark::GcPlan;
use crate::{
    index::Link,
    metrics,
    oci::{Digest, Repository},
    registry::{
        Error, Mode, ProgressCallback,
        store::{
            blob_store::BlockingStore,
            gc_guard::{Recent, RemovalOutcome, short},
            links,
        },
    },
    storage::{self, Durability, DurableStore, LinkKind},
};

/// The options of a collection.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// Removes manifests that no tag reaches, too.
    pub untagged: bool,
    /// The mode.
    pub mode: Mode,
    /// The time for which content stays after it was last uploaded, mounted or found by a HEAD.
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
    /// Repositories of which something stayed only because it was used in the grace period.
    pub active: u64,
}

/// Unsynced, because the next collection finds a link that reappears after a power failure. All are synced before bytes
/// go.
const UNSYNCED: Durability = Durability::Unsynced;

/// Attempts to carry out a plan for a repository that is pushed to meanwhile, and the pause between them.
const MAX_ATTEMPTS: usize = 5;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The result of carrying out a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pruned {
    /// All that it lists was removed.
    Whole,
    /// Something was used in the grace period, and stays.
    InUse,
    /// A manifest was pushed to the repository since the plan was made. The rest of it may be outdated.
    Outdated,
}

/// The plan for a repository.
#[derive(Clone, Copy)]
struct Pruning<'a> {
    repository: &'a Repository,
    plan: &'a GcPlan,
    /// Blobs used in the grace period stay. If a manifest is pushed after the plan was made, the rest stays.
    recent: Recent,
}

struct Collector<'a> {
    store: &'a BlockingStore<'a>,
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
        store: &BlockingStore<'_>,
        on_event: ProgressCallback<'_, GcEvent>,
    ) -> Result<Collected, Error> {
        let under_way = store.protection.gc_guard.collect(self.grace).ok_or(Error::UnderWay)?;
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
        for repository in store.disk.repositories() {
            collector.repository(&repository?)?;
            collector.report(GcEvent::Repository)?;
        }
        collector.bytes()?;
        if !self.mode.is_dry() {
            store.volume.metrics.found(metrics::MaintenanceEvent::CollectEnded);
        }
        Ok(collector.collected)
    }
}

impl Collector<'_> {
    fn report(&mut self, found: GcEvent) -> Result<(), Error> {
        if (self.on_event)(found).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn count(&self, kind: metrics::CollectedKind, bytes: u64) {
        if !self.collection.mode.is_dry() {
            self.store.volume.metrics.found(metrics::MaintenanceEvent::Collected(kind, bytes));
        }
    }

    /// Prunes a repository and records the references that remain. A mirrored repository keeps all its links, since
    /// clients may request them by digest.
    fn repository(&mut self, repository: &Repository) -> Result<(), Error> {
        let disk = self.store.disk;
        if repository.domain.is_some() {
            for digest in links::all(&disk, repository) {
                self.mirrored.insert(short(&digest?));
            }
            return Ok(());
        }
        let mut gone = HashSet::new();
        let plan = self.prune_repeatedly(repository, &mut gone)?;
        let mut is_empty = true;
        for digest in links::all(&disk, repository) {
            let digest = digest?;
            is_empty = false;
            // After a dry run the links are still there; otherwise the disk has only the remaining ones.
            if !(self.collection.mode.is_dry() && gone.contains(&digest)) {
                self.hosted.insert(short(&digest));
            }
        }
        self.hosted.extend(plan.named.iter().map(short));
        if is_empty && !self.collection.mode.is_dry() {
            let _repository = self.store.protection.locks.repository(repository);
            disk.links(repository).remove_empty_folders();
        }
        Ok(())
    }

    /// Plans and prunes, and plans anew if a manifest came in between. Returns the last plan.
    fn prune_repeatedly(&mut self, repository: &Repository, gone: &mut HashSet<Digest>) -> Result<GcPlan, Error> {
        let mut tries = 0;
        loop {
            let recent = self.recent.planned_now();
            let is_used = |digest: &Digest| self.store.protection.gc_guard.is_protected(repository, digest, recent);
            let plan = GcPlan::make(self.store.disk, repository, self.collection.untagged, is_used)?;
            let pruned = self.prune_claimed(&Pruning { repository, plan: &plan, recent }, gone)?;
            tries += 1;
            if pruned != Pruned::Outdated || tries == MAX_ATTEMPTS {
                self.collected.active += u64::from(plan.keeps_used || pruned != Pruned::Whole);
                return Ok(plan);
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }

    /// As [`Collector::prune`]; keeps the name claimed, and removes a repository without manifests from the catalog.
    fn prune_claimed(&mut self, pruning: &Pruning<'_>, gone: &mut HashSet<Digest>) -> Result<Pruned, Error> {
        if pruning.plan.manifests.is_empty() || self.collection.mode.is_dry() {
            return self.prune(pruning, true, gone);
        }
        let (store, repository) = (self.store, pruning.repository);
        let locked = || store.protection.locks.repository(repository);
        let claimed = {
            let _repository = locked();
            store.keep_claim(repository)?
        };
        let pruned = self.prune(pruning, claimed, gone)?;
        let _repository = locked();
        store.delist_if_empty(repository)?;
        Ok(pruned)
    }

    /// Carries out the plan until a manifest is pushed or one of these manifests is used: then it stops, because the
    /// rest of the plan may be outdated. If the claim could not be written, the first manifest removed becomes the
    /// claim.
    fn prune(&mut self, pruning: &Pruning<'_>, mut claimed: bool, gone: &mut HashSet<Digest>) -> Result<Pruned, Error> {
        let (Pruning { repository, plan, .. }, disk) = (*pruning, self.store.disk);
        for (tag, digest) in &plan.previous_tags {
            let remove = || disk.remove_link(repository, LinkKind::History(tag), digest, UNSYNCED);
            if self.unlink(pruning, digest, Link::default(), remove)? != RemovalOutcome::Removed(()) {
                return Ok(Pruned::Outdated);
            }
        }
        for (digest, subject) in &plan.manifests {
            let link = Link { revision: true, named: Some(0), ..Link::default() };
            let remove = || match std::mem::replace(&mut claimed, true) {
                true => disk.remove_link(repository, LinkKind::Revision, digest, UNSYNCED),
                false => disk.links(repository).turn_into_claim(digest),
            };
            if self.unlink(pruning, digest, link, remove)? != RemovalOutcome::Removed(()) {
                return Ok(Pruned::Outdated);
            }
            if let (Some(subject), false) = (subject, self.collection.mode.is_dry()) {
                self.store.volume.index.remove_referrer(repository, subject, digest);
            }
            gone.insert(*digest);
            self.collected.manifests += 1;
            self.count(metrics::CollectedKind::Manifest, 0);
            self.report(GcEvent::Manifest(repository.clone(), *digest))?;
        }
        self.prune_layers(pruning, gone)
    }

    fn prune_layers(&mut self, pruning: &Pruning<'_>, gone: &mut HashSet<Digest>) -> Result<Pruned, Error> {
        let mut pruned = Pruned::Whole;
        for digest in &pruning.plan.layers {
            let link = Link { layer: true, named: Some(0), ..Link::default() };
            let (disk, repository) = (self.store.disk, pruning.repository);
            let remove = || disk.remove_link(repository, LinkKind::Layer, digest, UNSYNCED);
            match self.unlink(pruning, digest, link, remove)? {
                RemovalOutcome::Removed(()) => {
                    gone.insert(*digest);
                    self.collected.links += 1;
                }
                RemovalOutcome::InUse => pruned = Pruned::InUse,
                RemovalOutcome::Outdated => return Ok(Pruned::Outdated),
            }
        }
        Ok(pruned)
    }

    /// Removes a link, unless it is in use or the plan is outdated.
    fn unlink(
        &self,
        pruning: &Pruning<'_>,
        digest: &Digest,
        link: Link,
        remove: impl FnOnce() -> Result<(), storage::Error>,
    ) -> Result<RemovalOutcome<()>, Error> {
        let store = self.store;
        let Pruning { repository, recent, .. } = *pruning;
        let _repository = store.protection.locks.repository(repository);
        let _digest = store.protection.locks.digest(digest);
        if self.collection.mode.is_dry() {
            let is_used = store.protection.gc_guard.is_protected(repository, digest, recent);
            return Ok(if is_used { RemovalOutcome::InUse } else { RemovalOutcome::Removed(()) });
        }
        let removed = store.protection.gc_guard.unless_recent(Some(repository), digest, recent, || {
            // The index first, since requests read it before the disk.
            store.index.remove_link(repository, digest, link);
            remove().inspect_err(|_| store.reread_link(repository, digest))
        });
        Ok(removed.transpose()?)
    }

    /// Removes the bytes that no repository links.
    fn bytes(&mut self) -> Result<(), Error> {
        let store = self.store;
        if !self.collection.mode.is_dry() {
            store.disk.sync()?;
        }
        for blob in store.disk.blobs() {
            let (digest, size) = blob?;
            let key = short(&digest);
            // An open file that is removed still occupies space that is not counted.
            if self.hosted.contains(&key) || store.protection.access_tracker.is_read(&digest) {
                continue;
            }
            let lock = store.protection.locks.digest(&digest);
            let (mode, cached) = (self.collection.mode, self.mirrored.contains(&key));
            let removed = store.protection.gc_guard.unless_recent(None, &digest, self.recent, || match mode {
                Mode::DryRun => Ok(()),
                Mode::Remove if cached => {
                    store.index.demoted(&digest);
                    Ok(())
                }
                Mode::Remove => store.remove_bytes(&digest),
            });
            if cached || removed.transpose()? != RemovalOutcome::Removed(()) {
                continue;
            }
            self.collected.blobs += 1;
            self.collected.bytes += size;
            self.count(metrics::CollectedKind::Blob, size);
            drop(lock);
            self.report(GcEvent::Blob(digest, size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
