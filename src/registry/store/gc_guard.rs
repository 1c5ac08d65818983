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
    hash::Hash,
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
    repositories: HashMap<RepositoryName, Mark>,
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

/// The last use of a repository or blob, and the number of guards on it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    last: Instant,
    held: u32,
}

/// The activity that protects from a removal: of a blob, everything since `began` and in the grace period before it; of
/// a repository, everything since `planned`, because a plan may be outdated after it.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Recent {
    began: Instant,
    grace: Duration,
    planned: Instant,
}

/// Protects a repository, a blob or both while it lives, and the blob for the grace period after that.
#[derive(Debug)]
#[must_use]
pub(in crate::registry) struct PushGuard {
    gc_guard: Arc<GcGuard>,
    repository: Option<RepositoryName>,
    digest: Option<u64>,
}

impl GcGuard {
    pub(in crate::registry) fn new(memory: Duration) -> Self {
        Self { started: Instant::now(), memory, seen: Mutex::default(), over: Condvar::new() }
    }

    /// Protects all links of a hosted repository while the guard lives, and the blob `digest`, for a push.
    pub(in crate::registry) async fn guard_repository(
        self: &Arc<Self>,
        repository: &Repository,
        digest: Option<&Digest>,
    ) -> PushGuard {
        self.hold(Some(repository.name.clone()), digest).await
    }

    /// Protects a blob and its links, for a request that stores or links it.
    pub(in crate::registry) async fn guard_blob(self: &Arc<Self>, digest: &Digest) -> PushGuard {
        self.hold(None, Some(digest)).await
    }

    /// Protects a blob for the grace period, because a client is told that it exists.
    pub(in crate::registry) async fn protect(self: &Arc<Self>, digest: &Digest) {
        drop(self.guard_blob(digest).await);
    }

    async fn hold(self: &Arc<Self>, repository: Option<RepositoryName>, digest: Option<&Digest>) -> PushGuard {
        let (guard, going) = {
            let mut seen = self.seen.lock();
            let guard = PushGuard { gc_guard: Arc::clone(self), repository, digest: digest.map(short) };
            seen.hold(&guard, 1);
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

    /// Returns whether a repository is under a guard, or was since `recent` was planned.
    pub(in crate::registry) fn is_active(&self, repository: &Repository, recent: Recent) -> bool {
        recent.covers_repository(self.seen.lock().repositories.get(&repository.name))
    }

    /// Returns whether a blob was protected recently.
    pub(in crate::registry) fn is_protected(&self, digest: &Digest, recent: Recent) -> bool {
        recent.covers(self.seen.lock().digests.get(&short(digest)), self.started)
    }

    /// Returns the repositories that were pushed to since `then`.
    pub(in crate::registry) fn entered_since(&self, then: Instant) -> Vec<RepositoryName> {
        let seen = self.seen.lock();
        let since = seen.repositories.iter().filter(|(_, mark)| mark.held > 0 || mark.last >= then);
        since.map(|(name, _)| name.clone()).collect()
    }

    /// Returns whether a blob is under a guard at this moment.
    pub(in crate::registry) fn is_held(&self, digest: &Digest) -> bool {
        self.seen.lock().digests.get(&short(digest)).is_some_and(|mark| mark.held > 0)
    }

    /// Removes a blob unless a guard protects it at this moment; `None` then. A guard requested meanwhile waits for the
    /// end of the removal.
    pub(in crate::registry) fn unless_held<T>(&self, digest: &Digest, take_away: impl FnOnce() -> T) -> Option<T> {
        let now = Instant::now();
        self.unless_recent(None, digest, Recent { began: now, grace: Duration::ZERO, planned: now }, take_away)
    }

    /// Removes a link or blob unless its blob or its repository was used (see [`Recent`]); `None` then. Guards of the same
    /// repository or blob that are requested meanwhile wait for the end of the removal; all others do not.
    pub(in crate::registry) fn unless_recent<T>(
        &self,
        repository: Option<&Repository>,
        digest: &Digest,
        recent: Recent,
        take_away: impl FnOnce() -> T,
    ) -> Option<T> {
        let _removal = self.begin_removal(repository, digest, recent)?;
        Some(take_away())
    }

    fn begin_removal(&self, repository: Option<&Repository>, digest: &Digest, recent: Recent) -> Option<Removal<'_>> {
        let mut seen = self.seen.lock();
        let active = |place: &Repository| recent.covers_repository(seen.repositories.get(&place.name));
        let kept = seen.closed
            || repository.is_some_and(active)
            || recent.covers(seen.digests.get(&short(digest)), self.started);
        if kept {
            return None;
        }
        let (ends, over) = watch::channel(());
        let number = seen.next;
        seen.next += 1;
        let repository = repository.map(|place| place.name.clone());
        seen.going.push(Going { number, repository, digest: short(digest), over });
        Some(Removal { gc_guard: self, number, _ends: ends })
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
        let (began, now) = (seen.collecting, seen.collecting.unwrap_or_else(Instant::now));
        let is_recent = |mark: &Mark| {
            let since_began = began.is_some_and(|began| mark.last >= began);
            mark.held > 0 || since_began || now.saturating_duration_since(mark.last) < self.memory
        };
        seen.repositories.retain(|_, mark| is_recent(mark));
        seen.digests.retain(|_, mark| is_recent(mark));
    }
}

impl Seen {
    fn hold(&mut self, guard: &PushGuard, by: i32) {
        if let Some(repository) = &guard.repository {
            mark(&mut self.repositories, repository.clone(), by);
        }
        if let Some(digest) = guard.digest {
            mark(&mut self.digests, digest, by);
        }
    }
}

impl Going {
    fn concerns(&self, guard: &PushGuard) -> bool {
        guard.digest == Some(self.digest) || (guard.repository.is_some() && guard.repository == self.repository)
    }
}

/// A registered removal. Dropping it ends it, also after a panic.
struct Removal<'a> {
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
        self.gc_guard.seen.lock().hold(self, -1);
    }
}

fn mark<K: Eq + Hash>(marks: &mut HashMap<K, Mark>, key: K, by: i32) {
    let now = Instant::now();
    let mark = marks.entry(key).or_insert(Mark { last: now, held: 0 });
    *mark = Mark { last: now, held: mark.held.saturating_add_signed(by) };
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

    fn covers_repository(self, mark: Option<&Mark>) -> bool {
        mark.is_some_and(|mark| mark.held > 0 || mark.last >= self.planned)
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
