//! What failed fills staged, kept for a while for whoever asks again: the rest alone is fetched then. It is the first to go
//! when room is needed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::hashing_writer::HashState;
use crate::{oci::Digest, storage::Staged};

/// For how long, and for how many blobs.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 32;

/// Staged files that nobody writes.
#[derive(Debug, Default)]
pub(in crate::registry) struct PartialBlobs(Mutex<HashMap<Digest, PartialBlob>>);

/// A part of a blob, from its start.
#[derive(Debug)]
pub(in crate::registry) struct PartialBlob {
    pub(in crate::registry) staged: Staged,
    pub(in crate::registry) state: Box<HashState>,
    /// Bytes of the whole blob, all of which have their place on the disk.
    pub(in crate::registry) size: u64,
    since: Instant,
}

impl PartialBlobs {
    /// Keeps what there is of a blob of `size` bytes.
    pub(in crate::registry) fn put(&self, digest: &Digest, staged: Staged, state: Box<HashState>, size: u64) {
        let mut halves = self.0.lock();
        if halves.len() >= MOST {
            remove_oldest(&mut halves);
        }
        halves.insert(*digest, PartialBlob { staged, state, size, since: Instant::now() });
    }

    /// Keeps what was taken and could not be gone on with, no longer than it would have been.
    pub(in crate::registry) fn put_back(&self, digest: &Digest, half: PartialBlob) {
        self.0.lock().entry(*digest).or_insert(half);
    }

    /// What is kept of a blob, for the caller to go on with.
    pub(in crate::registry) fn take(&self, digest: &Digest) -> Option<PartialBlob> {
        self.0.lock().remove(digest)
    }

    /// Lets go of what was kept for too long.
    pub(in crate::registry) fn tidy(&self) {
        self.0.lock().retain(|_, half| half.since.elapsed() < KEPT);
    }

    /// Lets go of the oldest until `bytes` are free, or nothing is left; tells how many went.
    pub(in crate::registry) fn give_way(&self, bytes: u64) -> u64 {
        let (mut halves, mut freed) = (self.0.lock(), 0);
        while freed < bytes
            && let Some(half) = remove_oldest(&mut halves)
        {
            freed += half.size;
        }
        freed
    }

    /// How many bytes it keeps from others.
    pub(in crate::registry) fn bytes(&self) -> u64 {
        self.0.lock().values().map(|half| half.size).sum()
    }
}

fn remove_oldest(halves: &mut HashMap<Digest, PartialBlob>) -> Option<PartialBlob> {
    let oldest = halves.iter().min_by_key(|(_, half)| half.since).map(|(digest, _)| *digest)?;
    halves.remove(&oldest)
}
