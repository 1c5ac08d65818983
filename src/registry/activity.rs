//! What happens to repositories and blobs, in memory: what a client was promised a moment ago is not collected, though
//! nothing names it yet. Nothing is collected for a while after a start, since what happened before it is not known.
//!
//! Whoever is going to rely on something being there says so here *first*, and looks *then*. The collector takes things away
//! with [`Activity::unless_recent`], which looks here and acts under one lock: so what is found after it was said stays.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::oci::{Digest, Repository, RepositoryName};

#[derive(Debug)]
pub(super) struct Activity {
    started: Instant,
    /// How long what happened is remembered: the longest grace there is.
    memory: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    repositories: HashMap<RepositoryName, Mark>,
    /// By the first bytes of the digest: two that share them only keep each other.
    digests: HashMap<u64, Mark>,
    /// When the collection under way began: what it leaves alone is remembered until it ends.
    collecting: Option<Instant>,
    /// Nothing is to be taken away any more.
    closed: bool,
}

/// When something was last in somebody's hands, and in how many it is now.
#[derive(Clone, Copy, Debug)]
struct Mark {
    last: Instant,
    held: u32,
}

/// What a collection leaves alone: what happened since it began, and for so long before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    began: Instant,
    grace: Duration,
}

/// Somebody works on a repository, and on a blob of it: both stay as long as this lives, and for the grace after that.
#[derive(Debug)]
pub(super) struct Present {
    activity: Arc<Activity>,
    repository: RepositoryName,
    digest: Option<u64>,
}

impl Activity {
    pub(super) fn new(memory: Duration) -> Self {
        Self { started: Instant::now(), memory, seen: Mutex::default() }
    }

    /// Somebody pushes to a repository of this registry's own: from here on all its links stay, and so does `digest`.
    pub(super) fn enter(self: &Arc<Self>, repository: &Repository, digest: Option<&Digest>) -> Present {
        let present =
            Present { activity: Arc::clone(self), repository: repository.name.clone(), digest: digest.map(short) };
        self.seen.lock().hold(&present, 1);
        present
    }

    /// Somebody was told that a blob is here, or brings it: from here on it stays, and so do its links.
    pub(super) fn touch(&self, digest: &Digest) {
        mark(&mut self.seen.lock().digests, short(digest), 0);
    }

    /// Begins a collection: what happens from now on counts as recent until it ends. `None` while another is under way.
    pub(super) fn collect(&self, grace: Duration) -> Option<Collecting<'_>> {
        let mut seen = self.seen.lock();
        if seen.collecting.is_some() {
            return None;
        }
        let began = Instant::now();
        seen.collecting = Some(began);
        // What is older than that has been forgotten.
        Some(Collecting { recent: Recent { began, grace: grace.min(self.memory) }, activity: self })
    }

    /// Whether a repository was pushed to.
    pub(super) fn is_active(&self, repository: &Repository, recent: Recent) -> bool {
        recent.covers(self.seen.lock().repositories.get(&repository.name), self.started)
    }

    /// Whether somebody was told of a blob.
    pub(super) fn is_touched(&self, digest: &Digest, recent: Recent) -> bool {
        recent.covers(self.seen.lock().digests.get(&short(digest)), self.started)
    }

    /// Takes something away unless its blob was touched, or its repository was pushed to; `None` then. Nobody can enter or
    /// touch anything meanwhile.
    pub(super) fn unless_recent<T>(
        &self,
        repository: Option<&Repository>,
        digest: &Digest,
        recent: Recent,
        take_away: impl FnOnce() -> T,
    ) -> Option<T> {
        let seen = self.seen.lock();
        let active = |place: &Repository| recent.covers(seen.repositories.get(&place.name), self.started);
        let kept = seen.closed
            || repository.is_some_and(active)
            || recent.covers(seen.digests.get(&short(digest)), self.started);
        (!kept).then(take_away)
    }

    /// From here on nothing is taken away: the index is about to be closed.
    pub(super) fn close(&self) {
        self.seen.lock().closed = true;
    }

    /// Forgets what is no longer recent.
    pub(super) fn tidy(&self) {
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
    fn hold(&mut self, present: &Present, by: i32) {
        mark(&mut self.repositories, present.repository.clone(), by);
        if let Some(digest) = present.digest {
            mark(&mut self.digests, digest, by);
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.activity.seen.lock().hold(self, -1);
    }
}

fn mark<K: Eq + Hash>(marks: &mut HashMap<K, Mark>, key: K, by: i32) {
    let now = Instant::now();
    let mark = marks.entry(key).or_insert(Mark { last: now, held: 0 });
    *mark = Mark { last: now, held: mark.held.saturating_add_signed(by) };
}

/// A collection under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Collecting<'a> {
    pub(super) recent: Recent,
    activity: &'a Activity,
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.activity.seen.lock().collecting = None;
    }
}

impl Recent {
    /// What nothing was heard of since the start may have been in somebody's hands just before it.
    fn covers(self, mark: Option<&Mark>, started: Instant) -> bool {
        let last = mark.map_or(started, |mark| mark.last);
        let since_began = mark.is_some() && last >= self.began;
        mark.is_some_and(|mark| mark.held > 0) || since_began || self.began.saturating_duration_since(last) < self.grace
    }
}

/// The first bytes of a digest: enough to tell a million from each other.
pub(super) fn short(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |short, byte| short << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn place(name: &str) -> Repository {
        Repository { domain: None, name: name.parse().unwrap() }
    }

    #[test]
    fn what_just_happened_is_recent() {
        let (activity, digest) = (Arc::new(Activity::new(HOUR)), Digest::sha256(b"a"));
        drop(activity.enter(&place("a"), None));
        let collecting = activity.collect(Duration::ZERO).unwrap();
        let recent = collecting.recent;
        assert!(!activity.is_active(&place("a"), recent) && !activity.is_touched(&digest, recent));
        assert_eq!(activity.unless_recent(Some(&place("a")), &digest, recent, || 1), Some(1));
        activity.touch(&digest);
        assert!(activity.is_touched(&digest, recent), "the collection was under way already");
        assert_eq!(activity.unless_recent(None, &digest, recent, || 1), None);
        drop(activity.enter(&place("a"), None));
        let other = Digest::sha256(b"b");
        assert_eq!(activity.unless_recent(Some(&place("a")), &other, recent, || 1), None);
        assert_eq!(activity.unless_recent(Some(&place("b")), &other, recent, || 1), Some(1));
    }

    #[test]
    fn what_is_in_somebody_s_hands_stays() {
        let (activity, digest) = (Arc::new(Activity::new(Duration::ZERO)), Digest::sha256(b"a"));
        let (one, two) = (activity.enter(&place("a"), Some(&digest)), activity.enter(&place("a"), None));
        let recent = activity.collect(Duration::ZERO).unwrap().recent;
        activity.tidy();
        assert!(activity.is_active(&place("a"), recent) && activity.is_touched(&digest, recent));
        drop((one, two));
        assert!(activity.is_active(&place("a"), recent), "it ended since the collection began");
        let recent = activity.collect(Duration::ZERO).unwrap().recent;
        assert!(!activity.is_active(&place("a"), recent) && !activity.is_touched(&digest, recent));
    }

    #[test]
    fn a_long_collection_leaves_alone_what_was_recent_when_it_began() {
        let (activity, digest) = (Activity::new(Duration::from_millis(10)), Digest::sha256(b"a"));
        activity.touch(&digest);
        let collecting = activity.collect(HOUR).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        activity.tidy();
        assert!(activity.is_touched(&digest, collecting.recent));
    }

    #[test]
    fn a_start_counts_as_activity() {
        let activity = Activity::new(HOUR);
        let recent = activity.collect(HOUR).unwrap().recent;
        assert!(activity.is_active(&place("a"), recent) && activity.is_touched(&Digest::sha256(b"a"), recent));
    }

    #[test]
    fn one_collection_at_a_time() {
        let activity = Activity::new(HOUR);
        let first = activity.collect(HOUR);
        assert!(first.is_some() && activity.collect(HOUR).is_none());
        drop(first);
        assert!(activity.collect(HOUR).is_some());
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_it_matters() {
        let (activity, digest) = (Activity::new(Duration::ZERO), Digest::sha256(b"a"));
        let collecting = activity.collect(HOUR).unwrap();
        let recent = collecting.recent;
        assert_eq!(recent.grace, Duration::ZERO);
        activity.touch(&digest);
        activity.tidy();
        assert!(activity.is_touched(&digest, recent), "while a collection is under way it matters");
        drop(collecting);
        activity.tidy();
        assert!(activity.seen.lock().digests.is_empty());
    }
}
