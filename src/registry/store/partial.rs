//! Partial blobs: the bytes that failed fills have staged, kept for a while so that the next fill resumes there. They
//! are the first to be evicted when space is needed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::hashing_writer::HashState;
use crate::{oci::Digest, storage::Staged};

/// The time for which a partial blob is kept.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 32;

/// The partial blobs of one volume. No task writes to their staged files.
#[derive(Debug, Default)]
pub(in crate::registry) struct PartialBlobs(Mutex<HashMap<Digest, PartialBlob>>);

/// The first part of a blob.
#[derive(Debug)]
pub(in crate::registry) struct PartialBlob {
    pub(in crate::registry) staged: Staged,
    pub(in crate::registry) state: Box<HashState>,
    /// Bytes of the whole blob; space for all of them is allocated.
    pub(in crate::registry) size: u64,
    since: Instant,
}

impl PartialBlobs {
    /// Keeps the first part of a blob of `size` bytes.
    pub(in crate::registry) fn put(&self, digest: &Digest, staged: Staged, state: Box<HashState>, size: u64) {
        let mut halves = self.0.lock();
        if halves.len() >= MOST {
            remove_oldest(&mut halves);
        }
        halves.insert(*digest, PartialBlob { staged, state, size, since: Instant::now() });
    }

    /// Returns a part that could not be resumed. Its expiry does not change.
    pub(in crate::registry) fn put_back(&self, digest: &Digest, half: PartialBlob) {
        self.0.lock().entry(*digest).or_insert(half);
    }

    /// Takes the partial blob, for the caller to resume.
    pub(in crate::registry) fn take(&self, digest: &Digest) -> Option<PartialBlob> {
        self.0.lock().remove(digest)
    }

    /// Drops partial blobs that are too old.
    pub(in crate::registry) fn tidy(&self) {
        self.0.lock().retain(|_, half| half.since.elapsed() < KEPT);
    }

    /// Drops the oldest partial blobs until `bytes` are free, or none is left. Returns the bytes freed.
    pub(in crate::registry) fn give_way(&self, bytes: u64) -> u64 {
        let (mut halves, mut freed) = (self.0.lock(), 0);
        while freed < bytes
            && let Some(half) = remove_oldest(&mut halves)
        {
            freed += half.size;
        }
        freed
    }

    /// Returns the bytes of disk space that partial blobs occupy.
    pub(in crate::registry) fn bytes(&self) -> u64 {
        self.0.lock().values().map(|half| half.size).sum()
    }
}

fn remove_oldest(halves: &mut HashMap<Digest, PartialBlob>) -> Option<PartialBlob> {
    let oldest = halves.iter().min_by_key(|(_, half)| half.since).map(|(digest, _)| *digest)?;
    halves.remove(&oldest)
}
