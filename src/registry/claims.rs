//! Locks for what must change on disk and in the index as one. Taken inside the blocking work, never across an await: a
//! request whose client leaves is dropped, the work it began is not, and must not go on unlocked.

use std::hash::{BuildHasher, Hash, RandomState};

use parking_lot::{Mutex, MutexGuard};

use crate::oci::{Digest, Repository, Tag};

/// How many can be held at once; two that share one wait for each other in vain, now and then.
const SHARDS: usize = 64;

/// Held for a short while each. Where several are, the repository's comes first and the tag's last.
#[derive(Debug)]
pub(super) struct Claims {
    repositories: [Mutex<()>; SHARDS],
    digests: [Mutex<()>; SHARDS],
    tags: [Mutex<()>; SHARDS],
    shard: RandomState,
}

impl Claims {
    pub(super) fn new() -> Self {
        let locks = || std::array::from_fn(|_| Mutex::new(()));
        Self { repositories: locks(), digests: locks(), tags: locks(), shard: RandomState::new() }
    }

    /// While a repository's tags or revisions change, while links of it go, and while an index is told of it.
    pub(super) fn repository(&self, repository: &Repository) -> MutexGuard<'_, ()> {
        self.repositories[self.shard(repository)].lock()
    }

    /// While a blob is linked or unlinked, and while damaged bytes are taken away.
    pub(super) fn digest(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.digests[self.shard(digest)].lock()
    }

    /// While a mirrored tag is pointed somewhere or dropped, whoever does it: what is known of it is looked at before.
    pub(super) fn tag(&self, repository: &Repository, tag: &Tag) -> MutexGuard<'_, ()> {
        self.tags[self.shard(&(repository, tag))].lock()
    }

    fn shard(&self, key: &impl Hash) -> usize {
        usize::try_from(self.shard.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }
}
