//! Partial blobs: the bytes that failed fills have staged, kept for 10 minutes so that the next fill resumes there. The
//! map is in memory, has at most 32 of them, and does not survive a restart. They are removed before any cached blob is
//! evicted.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::hashing_writer::HashState;
use crate::{oci::Digest, storage::Staged};

/// The time for which a partial blob is kept.
const PARTIAL_BLOB_TTL: Duration = Duration::from_secs(600);
const MAX_PARTIAL_BLOBS: usize = 32;

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
        let mut partials = self.0.lock();
        if partials.len() >= MAX_PARTIAL_BLOBS {
            remove_oldest(&mut partials);
        }
        partials.insert(*digest, PartialBlob { staged, state, size, since: Instant::now() });
    }

    /// Returns a part that could not be resumed. Its expiry does not change.
    pub(in crate::registry) fn put_back(&self, digest: &Digest, partial: PartialBlob) {
        self.0.lock().entry(*digest).or_insert(partial);
    }

    /// Takes the partial blob, for the caller to resume.
    pub(in crate::registry) fn take(&self, digest: &Digest) -> Option<PartialBlob> {
        self.0.lock().remove(digest)
    }

    /// Drops partial blobs that are too old.
    pub(in crate::registry) fn tidy(&self) {
        self.0.lock().retain(|_, partial| partial.since.elapsed() < PARTIAL_BLOB_TTL);
    }

    /// Drops the oldest partial blobs until `bytes` are free, or none is left. Returns the bytes freed.
    pub(in crate::registry) fn drop_oldest(&self, bytes: u64) -> u64 {
        let (mut partials, mut freed) = (self.0.lock(), 0);
        while freed < bytes
            && let Some(partial) = remove_oldest(&mut partials)
        {
            freed += partial.size;
        }
        freed
    }

    /// Returns the bytes of disk space that partial blobs occupy.
    pub(in crate::registry) fn bytes(&self) -> u64 {
        self.0.lock().values().map(|partial| partial.size).sum()
    }
}

fn remove_oldest(partials: &mut HashMap<Digest, PartialBlob>) -> Option<PartialBlob> {
    let oldest = partials.iter().min_by_key(|(_, partial)| partial.since).map(|(digest, _)| *digest)?;
    partials.remove(&oldest)
}
