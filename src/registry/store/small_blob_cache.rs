//! Small blobs that were served, in memory: configs and small layers, for which opening and reading a file would cost
//! most of the request.

use bytes::Bytes;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{index::VerifiedStamp, oci::Digest};

/// Blobs of this many bytes and more are not kept: they are sent from their files.
const MAX_BYTES: u64 = 64 << 10;
/// The memory of an entry beside the blob's bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// Verified bytes of small blobs, each with the stamp of the file that they were read from. An entry counts only while
/// the index has that stamp, so whatever removes or replaces a blob need not know of this cache.
#[derive(Debug)]
pub(in crate::registry) struct SmallBlobCache(Cache<Digest, (VerifiedStamp, Bytes)>);

impl SmallBlobCache {
    /// Creates the cache, of `memory` bytes.
    pub(in crate::registry) fn new(memory: u64) -> Self {
        let weigh = |_: &Digest, (_, bytes): &(VerifiedStamp, Bytes)| {
            u32::try_from(ENTRY_OVERHEAD_BYTES + bytes.len()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(memory).weigher(weigh).eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Returns whether blobs of this size are kept.
    pub(in crate::registry) fn accepts_size(size: u64) -> bool {
        (1..MAX_BYTES).contains(&size)
    }

    /// Returns the bytes of the blob whose file has this stamp.
    pub(in crate::registry) fn get(&self, digest: &Digest, stamp: VerifiedStamp) -> Option<Bytes> {
        self.0.get(digest).filter(|(read, _)| *read == stamp).map(|(_, bytes)| bytes)
    }

    /// Keeps the bytes of a file with this stamp.
    pub(in crate::registry) fn insert(&self, digest: Digest, stamp: VerifiedStamp, bytes: Bytes) {
        self.0.insert(digest, (stamp, bytes));
    }
}
