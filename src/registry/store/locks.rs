//! Locks by repository, digest and tag, for changes to the disk and the index that must happen as one.
//!
//! A guard belongs to the blocking work, not to the request: a request is dropped when its client disconnects, but the
//! work goes on and must stay locked. So the work takes the guard itself, or the request acquires it asynchronously and
//! moves it into the work.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::oci::{Digest, Repository, Tag};

/// The locks of one volume, each held briefly. The order is repository, digest, tag.
#[derive(Debug)]
pub(in crate::registry) struct Locks {
    repositories: KeyedLocks<Repository>,
    digests: KeyedLocks<Digest>,
    tags: KeyedLocks<(Repository, Tag)>,
}

impl Locks {
    pub(in crate::registry) fn new() -> Self {
        Self { repositories: KeyedLocks::new(), digests: KeyedLocks::new(), tags: KeyedLocks::new() }
    }

    /// Locks a repository while its tags or revisions change, links are removed, or it is indexed. Blocks.
    pub(in crate::registry) fn repository(&self, repository: &Repository) -> KeyGuard<Repository> {
        self.repositories.lock(repository)
    }

    /// As [`Locks::repository`], but asynchronous.
    pub(in crate::registry) async fn wait_for_repository(&self, repository: &Repository) -> KeyGuard<Repository> {
        self.repositories.acquire(repository).await
    }

    /// Locks a digest while its blob is linked or unlinked, or damaged bytes are removed. Blocks.
    pub(in crate::registry) fn digest(&self, digest: &Digest) -> KeyGuard<Digest> {
        self.digests.lock(digest)
    }

    /// As [`Locks::digest`], but asynchronous.
    pub(in crate::registry) async fn wait_for_digest(&self, digest: &Digest) -> KeyGuard<Digest> {
        self.digests.acquire(digest).await
    }

    /// Locks a digest only if no other task holds its lock or waits for it.
    pub(in crate::registry) fn try_digest(&self, digest: &Digest) -> Option<KeyGuard<Digest>> {
        self.digests.try_lock(digest)
    }

    /// Locks a mirrored tag while it is checked and then set or dropped. Blocks.
    pub(in crate::registry) fn tag(&self, repository: &Repository, tag: &Tag) -> KeyGuard<(Repository, Tag)> {
        self.tags.lock(&(repository.clone(), tag.clone()))
    }
}

/// A map of locks with an entry for each key that is held or waited for.
#[derive(Debug)]
struct KeyedLocks<K: Eq + Hash>(Arc<Mutex<HashMap<K, LockEntry>>>);

#[derive(Debug, Default)]
struct LockEntry {
    lock: Arc<AsyncMutex<()>>,
    /// The number of holders and waiters; the last one removes the entry.
    interested: usize,
}

impl<K: Clone + Eq + Hash> KeyedLocks<K> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self, key: &K) -> KeyGuard<K> {
        let (lock, mut guard) = self.register(key);
        guard.held = Some(lock.blocking_lock_owned());
        guard
    }

    fn try_lock(&self, key: &K) -> Option<KeyGuard<K>> {
        let (lock, mut guard) = self.register(key);
        guard.held = Some(lock.try_lock_owned().ok()?);
        Some(guard)
    }

    async fn acquire(&self, key: &K) -> KeyGuard<K> {
        let (lock, mut guard) = self.register(key);
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    fn register(&self, key: &K) -> (Arc<AsyncMutex<()>>, KeyGuard<K>) {
        let mut locks = self.0.lock();
        let entry = locks.entry(key.clone()).or_default();
        entry.interested += 1;
        (Arc::clone(&entry.lock), KeyGuard { key: key.clone(), locks: Arc::clone(&self.0), held: None })
    }
}

/// Holds the lock of a key until it is dropped.
#[derive(Debug)]
#[must_use]
pub(in crate::registry) struct KeyGuard<K: Eq + Hash> {
    key: K,
    locks: Arc<Mutex<HashMap<K, LockEntry>>>,
    /// `None` until the lock is acquired.
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Drop for KeyGuard<K> {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.locks.lock();
        let Some(entry) = locks.get_mut(&self.key) else { return };
        entry.interested -= 1;
        if entry.interested == 0 {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const A_MOMENT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn each_key_has_a_lock_of_its_own() {
        let locks = KeyedLocks::new();
        let held: Vec<_> = futures_util::future::join_all((0..1000).map(|key| {
            let locks = &locks;
            async move { locks.acquire(&key).await }
        }))
        .await;
        assert!(timeout(A_MOMENT, locks.acquire(&7)).await.is_err(), "it is held");
        assert!(timeout(A_MOMENT, locks.acquire(&1000)).await.is_ok(), "nobody holds it");
        drop(held);
        assert!(timeout(A_MOMENT, locks.acquire(&7)).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_nothing_behind() {
        let locks = KeyedLocks::new();
        let held = locks.acquire(&1).await;
        assert!(timeout(A_MOMENT, locks.acquire(&1)).await.is_err());
        drop(held);
        assert!(locks.0.lock().is_empty());
    }

    #[test]
    fn a_thread_waits_as_a_task_does() {
        let locks = Arc::new(KeyedLocks::new());
        let held = locks.lock(&1);
        let (other, done) = (Arc::clone(&locks), Arc::new(Mutex::new(false)));
        let noted = Arc::clone(&done);
        let waiting = std::thread::Builder::new().spawn(move || {
            let _held = other.lock(&1);
            *noted.lock() = true;
        });
        std::thread::sleep(A_MOMENT);
        assert!(!*done.lock());
        drop(held);
        waiting.unwrap().join().unwrap();
        assert!(*done.lock() && locks.0.lock().is_empty());
    }
}
