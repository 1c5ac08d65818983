//! Access times and counts of blobs and manifests, for eviction, and the blobs that are being read at this moment.
//!
//! Accesses are noted in memory and written to the index in batches, since a write for each hit would cost as much as a
//! cache miss.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::{index, oci::Digest};

const SHARDS: usize = 16;

/// The accesses not yet in the index, the times of those that are, and the open readers.
#[derive(Debug)]
pub(in crate::registry) struct AccessTracker {
    noted: [Mutex<HashMap<Digest, index::Uses>>; SHARDS],
    /// Seconds since the epoch of accesses already handed to the index, kept because the index may fail to store them.
    flushed: [Mutex<HashMap<Digest, u64>>; SHARDS],
    read: [Mutex<HashMap<Digest, usize>>; SHARDS],
    shard: RandomState,
}

/// Marks a blob as being read until it is dropped. Removing such a blob would not free its bytes on the disk.
#[derive(Debug)]
pub(in crate::registry) struct ReadGuard {
    digest: Digest,
    access_tracker: Arc<AccessTracker>,
}

impl AccessTracker {
    pub(in crate::registry) fn new() -> Self {
        Self {
            noted: std::array::from_fn(|_| Mutex::default()),
            flushed: std::array::from_fn(|_| Mutex::default()),
            read: std::array::from_fn(|_| Mutex::default()),
            shard: RandomState::new(),
        }
    }

    /// Counts one access of a blob, now.
    pub(in crate::registry) fn note(&self, digest: &Digest) {
        let mut noted = self.noted[self.shard(digest)].lock();
        let uses = noted.entry(*digest).or_default();
        uses.count = uses.count.saturating_add(1);
        uses.last = now();
    }

    /// Returns the last access in seconds since the epoch, if it is still remembered.
    pub(in crate::registry) fn last(&self, digest: &Digest) -> Option<u64> {
        let shard = self.shard(digest);
        let noted = self.noted[shard].lock().get(digest).map(|uses| uses.last);
        noted.or_else(|| self.flushed[shard].lock().get(digest).copied())
    }

    /// Takes the accesses that the index has not got yet. The times remain remembered.
    pub(in crate::registry) fn take(&self) -> impl Iterator<Item = (Digest, index::Uses)> + '_ {
        self.noted.iter().zip(&self.flushed).flat_map(|(noted, flushed)| {
            let mut noted = noted.lock();
            flushed.lock().extend(noted.iter().map(|(digest, uses)| (*digest, uses.last)));
            std::mem::take(&mut *noted)
        })
    }

    /// Forgets accesses before `before`, in seconds since the epoch.
    pub(in crate::registry) fn forget(&self, before: u64) {
        self.flushed.iter().for_each(|flushed| flushed.lock().retain(|_, last| *last >= before));
    }

    /// Registers a reader of a blob.
    pub(in crate::registry) fn read(self: &Arc<Self>, digest: &Digest) -> ReadGuard {
        *self.read[self.shard(digest)].lock().entry(*digest).or_default() += 1;
        ReadGuard { digest: *digest, access_tracker: Arc::clone(self) }
    }

    /// Returns whether a blob has an open reader.
    pub(in crate::registry) fn is_read(&self, digest: &Digest) -> bool {
        self.read[self.shard(digest)].lock().contains_key(digest)
    }

    fn shard(&self, digest: &Digest) -> usize {
        usize::try_from(self.shard.hash_one(digest) % SHARDS as u64).unwrap_or_default()
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        let mut read = self.access_tracker.read[self.access_tracker.shard(&self.digest)].lock();
        if let Some(readers) = read.get_mut(&self.digest) {
            *readers -= 1;
            if *readers == 0 {
                read.remove(&self.digest);
            }
        }
    }
}

/// Seconds since the epoch.
pub(in crate::registry) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_until_the_last_reader_is_gone() {
        let (access_tracker, digest) = (Arc::new(AccessTracker::new()), Digest::sha256(b"a"));
        let (one, other) = (access_tracker.read(&digest), access_tracker.read(&digest));
        drop(one);
        assert!(access_tracker.is_read(&digest));
        drop(other);
        assert!(!access_tracker.is_read(&digest));
    }

    #[test]
    fn uses_are_told_once() {
        let (access_tracker, digest) = (AccessTracker::new(), Digest::sha256(b"a"));
        access_tracker.note(&digest);
        access_tracker.note(&digest);
        assert!(access_tracker.last(&digest).is_some());
        let flushed: Vec<_> = access_tracker.take().collect();
        assert_eq!((flushed.len(), flushed[0].1.count), (1, 2));
        assert_eq!(access_tracker.take().count(), 0);
        assert!(access_tracker.last(&digest).is_some(), "it is remembered, though it was told");
        access_tracker.forget(u64::MAX);
        assert!(access_tracker.last(&digest).is_none());
    }
}
