//! The disk usage of each tag of a repository, and the part of it that no other tag shares.

use std::collections::HashMap;

use super::{
    blob_holders::BlobHolders,
    blob_usage::BlobUsage,
    reach::{Completeness, Reach},
};
use crate::{
    oci::{Digest, Repository, Tag},
    registry::{
        Error,
        store::{blob_store::BlockingStore, gc_guard::short},
    },
    storage::DurableStore,
};

/// A tag and the disk usage of all that it leads to.
#[derive(Clone, Debug)]
pub(in crate::registry) struct WeighedTag {
    pub(in crate::registry) tag: Tag,
    /// The manifest that it names.
    pub(in crate::registry) digest: Digest,
    pub(in crate::registry) usage: BlobUsage,
    pub(in crate::registry) completeness: Completeness,
    /// Bytes that are not here, as far as the manifests that are say so.
    pub(in crate::registry) missing: u64,
}

/// A blob that at least one tag references.
struct Reached {
    /// Its allocated bytes; `None` if the repository does not hold it.
    allocated: Option<u64>,
    /// The index of the only tag that references it so far; `None` for several, or if another repository holds it too.
    only: Option<usize>,
}

/// Returns the disk usage of all tags of a repository, unordered. Exclusive to a tag are the blobs that no other tag
/// and no other repository references; removing the tag would free them.
///
/// # Errors
/// [`Error::Storage`] if a tag or a manifest cannot be read.
pub(in crate::registry) fn weigh(store: &BlockingStore<'_>, place: &Repository) -> Result<Vec<WeighedTag>, Error> {
    let mut found = Vec::new();
    // Keyed by the first eight bytes of the digest: some megabytes for a million blobs.
    let mut reached: HashMap<u64, Reached> = HashMap::new();
    for tagged in store.disk.tags(place) {
        let (tag, Some(top)) = tagged? else { continue };
        let used = store.index.blob_entry(&top).map(|holding| holding.used);
        let mut usage = BlobUsage { used, ..BlobUsage::default() };
        let reach = Reach::of(store, place, top)?;
        for digest in &reach.digests {
            let known = reached.entry(short(digest)).and_modify(|known| known.only = None);
            let known = known.or_insert_with(|| first(store, place, digest, found.len()));
            usage.size += known.allocated.unwrap_or(0);
            usage.objects += u64::from(known.allocated.is_some());
        }
        let missing = reach.missing.iter().map(|missing| missing.bytes).sum();
        found.push(WeighedTag { tag, digest: top, usage, completeness: reach.completeness(), missing });
    }
    for Reached { allocated, only } in reached.into_values() {
        if let (Some(allocated), Some(only)) = (allocated, only) {
            found[only].usage.exclusive += allocated;
        }
    }
    Ok(found)
}

fn first(store: &BlockingStore<'_>, place: &Repository, digest: &Digest, number: usize) -> Reached {
    match BlobHolders::of(store.index, digest).filter(|held| held.holders.contains(place)) {
        None => Reached { allocated: None, only: None },
        Some(held) => {
            Reached { allocated: Some(held.holding.allocated), only: (held.holders.len() == 1).then_some(number) }
        }
    }
}
