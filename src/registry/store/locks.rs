//! Locks for what must change on disk and in the index as one, by name: whoever waits, waits for the same repository or the
//! same digest.
//!
//! A guard belongs to the work that blocks, not to the request: a request whose client leaves is dropped, the work it began
//! is not, and must not go on unlocked. So it is taken inside the work, or before it and moved there; waiting for it before
//! takes no thread.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::oci::{Digest, Repository, Tag};

/// Held for a short while each. Where several are, the repository's comes first and the tag's last.
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

    /// While a repository's tags or revisions change, while links of it go, and while an index is told of it. Blocks.
    pub(in crate::registry) fn repository(&self, repository: &Repository) -> KeyGuard<Repository> {
        self.repositories.lock(repository)
    }

    /// As [`Locks::repository`], without a thread that waits.
    pub(in crate::registry) async fn wait_for_repository(&self, repository: &Repository) -> KeyGuard<Repository> {
        self.repositories.acquire(repository).await
    }

    /// While a blob is linked or unlinked, and while damaged bytes are taken away. Blocks.
    pub(in crate::registry) fn digest(&self, digest: &Digest) -> KeyGuard<Digest> {
        self.digests.lock(digest)
    }

    /// As [`Locks::digest`], without a thread that waits.
    pub(in crate::registry) async fn wait_for_digest(&self, digest: &Digest) -> KeyGuard<Digest> {
        self.digests.acquire(digest).await
    }

    /// As [`Locks::digest`], if nobody holds it or waits for it.
    pub(in crate::registry) fn try_digest(&self, digest: &Digest) -> Option<KeyGuard<Digest>> {
        self.digests.try_lock(digest)
    }

    /// While a mirrored tag is pointed somewhere or dropped, whoever does it: what is known of it is looked at before. Blocks.
    pub(in crate::registry) fn tag(&self, repository: &Repository, tag: &Tag) -> KeyGuard<(Repository, Tag)> {
        self.tags.lock(&(repository.clone(), tag.clone()))
    }
}

/// A lock for each key that somebody holds or waits for.
#[derive(Debug)]
struct KeyedLocks<K: Eq + Hash>(Arc<Mutex<HashMap<K, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    lock: Arc<AsyncMutex<()>>,
    /// Who holds it or waits for it: the last one takes the entry away.
    interested: usize,
}

impl<K: Clone + Eq + Hash> KeyedLocks<K> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self, key: &K) -> KeyGuard<K> {
        let (lock, mut guard) = self.enter(key);
        guard.held = Some(lock.blocking_lock_owned());
        guard
    }

    fn try_lock(&self, key: &K) -> Option<KeyGuard<K>> {
        let (lock, mut guard) = self.enter(key);
        guard.held = Some(lock.try_lock_owned().ok()?);
        Some(guard)
    }

    async fn acquire(&self, key: &K) -> KeyGuard<K> {
        let (lock, mut guard) = self.enter(key);
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    fn enter(&self, key: &K) -> (Arc<AsyncMutex<()>>, KeyGuard<K>) {
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
    locks: Arc<Mutex<HashMap<K, Entry>>>,
    /// `None` while it is waited for.
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
