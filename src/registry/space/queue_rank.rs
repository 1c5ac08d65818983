//! The position of content in the order of eviction.

use std::collections::HashSet;

use crate::{oci::Digest, registry::store::blob_store::BlockingStore};

/// Blobs taken from the queue at a time.
const BATCH_BLOBS: usize = 1000;

/// The position of the first of some blobs in the eviction queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct QueueRank {
    /// The position, from 1; `None` if none of them is in the queue.
    pub(in crate::registry) position: Option<u64>,
    /// The number of blobs in the queue.
    pub(in crate::registry) of: u64,
    /// Bytes of the blobs that are evicted before it.
    pub(in crate::registry) bytes_before: u64,
}

/// Returns the position of the blob among `digests` that is evicted first. Reads the whole queue, in batches.
pub(in crate::registry) fn rank(store: &BlockingStore<'_>, digests: &HashSet<Digest>) -> QueueRank {
    let (mut rank, mut after) = (QueueRank::default(), None);
    loop {
        let (next, last) = store.index.next_in_queue(after.as_ref(), BATCH_BLOBS);
        for digest in next {
            rank.of += 1;
            if rank.position.is_none() && digests.contains(&digest) {
                rank.position = Some(rank.of);
            }
            if rank.position.is_none() {
                rank.bytes_before += store.index.blob_entry(&digest).map_or(0, |entry| entry.allocated);
            }
        }
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    if rank.position.is_none() {
        rank.bytes_before = 0;
    }
    rank
}
