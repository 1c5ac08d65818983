//! Protects repositories and blobs in use from garbage collection and eviction. It is kept in memory only, so
//! everything counts as used at the start of the process.
//!
//! A request that will rely on a blob takes a guard *first*, and checks that the blob exists *then*. Collections and
//! evictions remove through [`GcGuard::unless_recent`] and [`GcGuard::unless_held`]: these check the guards and
//! register the removal under one lock, and remove without that lock. A guard taken before the registration prevents
//! the removal. A guard requested after it waits until the removal is over, and the check then finds the blob gone. So
//! a blob that is found under a guard stays.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::oci::{Digest, Repository, RepositoryName};

#[derive(Debug)]
pub(in crate::registry) struct GcGuard {
    started: Instant,
    /// The time for which activity is remembered: the longest grace period there is.
    memory: Duration,
    seen: Mutex<Seen>,
    /// Notified at the end of each removal.
    over: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    repositories: HashMap<RepositoryName, Writes>,
    /// Keyed by the first eight bytes of the digest. A collision only protects one blob more.
    digests: HashMap<u64, Mark>,
    /// The start of the collection under way; activity since then is remembered until it ends.
    collecting: Option<Instant>,
    /// The removals under way, of collections and evictions.
    going: Vec<Going>,
    /// The number of the next removal.
    next: u64,
    /// Set at shutdown: no further removal may begin.
    closed: bool,
}

/// A link or blob that is being removed.
#[derive(Debug)]
struct Going {
    number: u64,
    /// The repository whose link is removed; `None` if the bytes themselves are removed.
    repository: Option<RepositoryName>,
    digest: u64,
    /// Closed at the end of the removal.
    over: watch::Receiver<()>,
}

/// The last use of a blob, and the number of guards on it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    last: Instant,
    held: u32,
}

/// The pushes to a repository.
#[derive(Debug)]
struct Writes {
    last: Instant,
    /// The last push of a manifest; `None` if there was none.
    last_manifest: Option<Instant>,
    /// The pushes of manifests under way.
    manifests: u32,
    /// The beginning of each request under way.
    open: Vec<Instant>,
}

/// The kind of a push. Only a manifest can name content that a plan was about to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PushKind {
    Upload,
    Manifest,
}

/// The activity that protects from a removal. A blob is protected by everything since `began` and in the grace period
/// before it; if a link is to be removed whose repository receives an upload, by everything in the grace period before
/// the oldest such request. A manifest that is pushed after `planned` outdates the plan of its repository.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Recent {
    began: Instant,
    grace: Duration,
    planned: Instant,
}

/// The result of an attempt to remove a link or blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum RemovalOutcome<T> {
    /// It was removed, with this result.
    Removed(T),
    /// It stays, because it is in use, or because the store is closed.
    InUse,
    /// It stays, because a manifest was pushed to its repository since the plan was made.
    Outdated,
}

/// Protects a repository, a blob or both while it lives, and the blob for the grace period after that.
#[derive(Debug)]
#[must_use]
pub(in crate::registry) struct PushGuard {
    gc_guard: Arc<GcGuard>,
    repository: Option<(RepositoryName, PushKind)>,
    digest: Option<u64>,
    since: Instant,
}

impl<T, E> RemovalOutcome<Result<T, E>> {
    /// Returns the error of a removal that failed.
    pub(in crate::registry) fn transpose(self) -> Result<RemovalOutcome<T>, E> {
        Ok(match self {
            Self::Removed(result) => RemovalOutcome::Removed(result?),
            Self::InUse => RemovalOutcome::InUse,
            Self::Outdated => RemovalOutcome::Outdated,
        })
    }
}

impl GcGuard {
    pub(in crate::registry) fn new(memory: Duration) -> Self {
        Self { started: Instant::now(), memory, seen: Mutex::default(), over: Condvar::new() }
    }

    /// Guards a request that uploads or mounts a blob: `digest`, once it is known. While the guard lives, all that was
    /// used in the grace period before it keeps its links in the repository, since the manifest comes last.
    pub(in crate::registry) async fn guard_upload(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Option<&Digest>,
    ) -> PushGuard {
        self.hold(Some((repository.name.clone(), PushKind::Upload)), digest).await
    }

    /// Guards the push of a manifest: nothing is removed from its repository by a plan that was made before it ended.
    pub(in crate::registry) async fn guard_manifest(
        self: &Arc<Self>,
        repository: &Repository,
        digest: &Digest,
    ) -> PushGuard {
        self.hold(Some((repository.name.clone(), PushKind::Manifest)), Some(digest)).await
    }

    /// Protects a blob and its links, for a request that stores or links it.
    pub(in crate::registry) async fn guard_blob(self: &Arc<Self>, digest: &Digest) -> PushGuard {
        self.hold(None, Some(digest)).await
    }

    /// Protects a blob for the grace period, because a client has learnt that it exists.
    pub(in crate::registry) async fn protect(self: &Arc<Self>, digest: &Digest) {
        drop(self.guard_blob(digest).await);
    }

    async fn hold(
        self: &Arc<Self>,
        repository: Option<(RepositoryName, PushKind)>,
        digest: Option<&Digest>,
    ) -> PushGuard {
        let (guard, going) = {
            let mut seen = self.seen.lock();
            let (gc_guard, since) = (Arc::clone(self), Instant::now());
            let guard = PushGuard { gc_guard, repository, digest: digest.map(short), since };
            seen.hold(&guard);
            let going = seen.going.iter().filter(|going| going.concerns(&guard));
            let going: Vec<_> = going.map(|going| going.over.clone()).collect();
            (guard, going)
        };
        // Removals that begin later cannot concern this guard, since it is registered.
        for mut over in going {
            let _ = over.changed().await;
        }
        guard
    }

    /// Begins a collection; activity from now until its end counts as recent. `None` while another one runs.
    pub(in crate::registry) fn collect(&self, grace: Duration) -> Option<Collecting<'_>> {
        let mut seen = self.seen.lock();
        if seen.collecting.is_some() {
            return None;
        }
        let began = Instant::now();
        seen.collecting = Some(began);
        // Older activity has been forgotten.
        let recent = Recent { began, grace: grace.min(self.memory), planned: began };
        Some(Collecting { recent, gc_guard: self })
    }

    /// Returns whether a blob's link in a repository is protected.
    pub(in crate::registry) fn is_protected(&self, repository: &Repository, digest: &Digest, recent: Recent) -> bool {
        let seen = self.seen.lock();
        let recent = recent.before_uploads(seen.repositories.get(&repository.name));
        recent.covers(seen.digests.get(&short(digest)), self.started)
    }

    /// Returns the repositories that were pushed to since `then`.
    pub(in crate::registry) fn entered_since(&self, then: Instant) -> Vec<RepositoryName> {
        let seen = self.seen.lock();
        let since = seen.repositories.iter().filter(|(_, writes)| !writes.open.is_empty() || writes.last >= then);
        since.map(|(name, _)| name.clone()).collect()
    }

    /// Returns whether a blob is under a guard at this moment.
    pub(in crate::registry) fn is_held(&self, digest: &Digest) -> bool {
        self.seen.lock().digests.get(&short(digest)).is_some_and(|mark| mark.held > 0)
    }

    /// Removes a blob, or its link in a repository, unless a guard protects it at this moment. A guard requested
    /// meanwhile waits for the end of the removal.
    pub(in crate::registry) fn unless_held<T>(
        &self,
        repository: Option<&Repository>,
        digest: &Digest,
        take_away: impl FnOnce() -> T,
    ) -> RemovalOutcome<T> {
        let now = Instant::now();
        self.unless_recent(repository, digest, Recent { began: now, grace: Duration::ZERO, planned: now }, take_away)
    }

    /// Removes a link or blob unless it is protected or the plan is outdated (see [`Recent`]). Guards of the same
    /// repository or blob that are requested meanwhile wait for the end of the removal; all others do not.
    pub(in crate::registry) fn unless_recent<T>(
        &self,
        repository: Option<&Repository>,
        digest: &Digest,
        recent: Recent,
        take_away: impl FnOnce() -> T,
    ) -> RemovalOutcome<T> {
        match self.begin_removal(repository, digest, recent) {
            RemovalOutcome::Removed(_removal) => RemovalOutcome::Removed(take_away()),
            RemovalOutcome::InUse => RemovalOutcome::InUse,
            RemovalOutcome::Outdated => RemovalOutcome::Outdated,
        }
    }

    /// Begins a removal, as [`GcGuard::unless_recent`] does; it ends when the value is dropped.
    pub(in crate::registry) fn begin_removal(
        &self,
        repository: Option<&Repository>,
        digest: &Digest,
        recent: Recent,
    ) -> RemovalOutcome<Removal<'_>> {
        let mut seen = self.seen.lock();
        let writes = repository.and_then(|place| seen.repositories.get(&place.name));
        if recent.is_outdated(writes) {
            return RemovalOutcome::Outdated;
        }
        if seen.closed || recent.before_uploads(writes).covers(seen.digests.get(&short(digest)), self.started) {
            return RemovalOutcome::InUse;
        }
        let (ends, over) = watch::channel(());
        let number = seen.next;
        seen.next += 1;
        let repository = repository.map(|place| place.name.clone());
        seen.going.push(Going { number, repository, digest: short(digest), over });
        RemovalOutcome::Removed(Removal { gc_guard: self, number, _ends: ends })
    }

    /// Allows no further removal, because the index is about to be closed. Blocks until those under way have ended.
    pub(in crate::registry) fn close(&self) {
        let mut seen = self.seen.lock();
        seen.closed = true;
        self.over.wait_while(&mut seen, |seen| !seen.going.is_empty());
    }

    /// Forgets activity that is no longer recent.
    pub(in crate::registry) fn tidy(&self) {
        let mut seen = self.seen.lock();
        let (began, now) = (seen.collecting, Instant::now());
        let oldest = seen.repositories.values().flat_map(|writes| &writes.open).chain(&began).min();
        let then = oldest.copied().unwrap_or(now);
        let is_recent = |last: Instant| {
            began.is_some_and(|began| last >= began) || then.saturating_duration_since(last) < self.memory
        };
        seen.repositories.retain(|_, writes| !writes.open.is_empty() || is_recent(writes.last));
        seen.digests.retain(|_, mark| mark.held > 0 || is_recent(mark.last));
    }
}

impl Seen {
    fn hold(&mut self, guard: &PushGuard) {
        if let Some((repository, kind)) = &guard.repository {
            let new = Writes { last: guard.since, last_manifest: None, manifests: 0, open: Vec::new() };
            self.repositories.entry(repository.clone()).or_insert(new).begin(*kind, guard.since);
        }
        if let Some(digest) = guard.digest {
            let mark = self.digests.entry(digest).or_insert(Mark { last: guard.since, held: 0 });
            *mark = Mark { last: guard.since, held: mark.held + 1 };
        }
    }

    fn release(&mut self, guard: &PushGuard) {
        let now = Instant::now();
        if let Some(writes) = guard.repository.as_ref().and_then(|(name, _)| self.repositories.get_mut(name)) {
            writes.end(guard, now);
        }
        if let Some(mark) = guard.digest.and_then(|digest| self.digests.get_mut(&digest)) {
            *mark = Mark { last: now, held: mark.held.saturating_sub(1) };
        }
    }
}

impl Writes {
    fn begin(&mut self, kind: PushKind, now: Instant) {
        self.last = now;
        self.open.push(now);
        self.manifests += u32::from(kind == PushKind::Manifest);
    }

    fn end(&mut self, guard: &PushGuard, now: Instant) {
        self.last = now;
        if let Some(at) = self.open.iter().position(|since| *since == guard.since) {
            self.open.swap_remove(at);
        }
        if guard.repository.as_ref().is_some_and(|(_, kind)| *kind == PushKind::Manifest) {
            self.manifests = self.manifests.saturating_sub(1);
            self.last_manifest = Some(now);
        }
    }
}

impl Going {
    fn concerns(&self, guard: &PushGuard) -> bool {
        let repository = guard.repository.as_ref().map(|(name, _)| name);
        guard.digest == Some(self.digest) || (repository.is_some() && repository == self.repository.as_ref())
    }
}

/// A registered removal. Dropping it ends it, also after a panic.
pub(in crate::registry) struct Removal<'a> {
    gc_guard: &'a GcGuard,
    number: u64,
    /// Closes the channel that guards wait on.
    _ends: watch::Sender<()>,
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.gc_guard.seen.lock().going.retain(|going| going.number != self.number);
        self.gc_guard.over.notify_all();
    }
}

impl Drop for PushGuard {
    fn drop(&mut self) {
        self.gc_guard.seen.lock().release(self);
    }
}

/// A collection under way; it ends when this is dropped.
#[derive(Debug)]
pub(in crate::registry) struct Collecting<'a> {
    pub(in crate::registry) recent: Recent,
    gc_guard: &'a GcGuard,
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.gc_guard.seen.lock().collecting = None;
    }
}

impl Recent {
    /// Returns the same for a plan that is made from now on.
    pub(in crate::registry) fn planned_now(self) -> Self {
        Self { planned: Instant::now(), ..self }
    }

    /// Returns whether a manifest is being pushed, or was since the plan was made.
    fn is_outdated(self, writes: Option<&Writes>) -> bool {
        writes
            .is_some_and(|writes| writes.manifests > 0 || writes.last_manifest.is_some_and(|last| last >= self.planned))
    }

    /// Returns the same for a link of a repository: the grace period ends with the oldest request under way.
    fn before_uploads(self, writes: Option<&Writes>) -> Self {
        let oldest = writes.and_then(|writes| writes.open.iter().min());
        Self { began: oldest.map_or(self.began, |oldest| self.began.min(*oldest)), ..self }
    }

    /// Returns whether the mark of a blob is recent. A blob not seen since the process started counts as used at its
    /// start.
    fn covers(self, mark: Option<&Mark>, started: Instant) -> bool {
        let last = mark.map_or(started, |mark| mark.last);
        let since_began = mark.is_some() && last >= self.began;
        mark.is_some_and(|mark| mark.held > 0) || since_began || self.began.saturating_duration_since(last) < self.grace
    }
}

/// Returns the first eight bytes of a digest, enough to tell millions of blobs apart.
pub(in crate::registry) fn short(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |short, byte| short << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
