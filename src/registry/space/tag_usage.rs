//! The disk usage of each tag of a repository, and the part of it that no other tag shares.

use std::collections::{HashMap, HashSet};

use super::{blob_holders::BlobHolders, blob_usage::BlobUsage};
use crate::{
    oci::{Digest, Manifest, Repository, Tag},
    registry::{
        Error,
        store::{blob_store::BlockingStore, gc_guard::short, stored_manifests},
    },
    storage::DurableStore,
};

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
pub(in crate::registry) fn weigh(
    store: &BlockingStore<'_>,
    place: &Repository,
) -> Result<Vec<(Tag, Digest, BlobUsage)>, Error> {
    let mut found = Vec::new();
    // Keyed by the first eight bytes of the digest: some megabytes for a million blobs.
    let mut reached: HashMap<u64, Reached> = HashMap::new();
    for tagged in store.disk.tags(place) {
        let (tag, Some(top)) = tagged? else { continue };
        let used = store.index.blob_entry(&top).map(|holding| holding.used);
        let mut weight = BlobUsage { used, ..BlobUsage::default() };
        for digest in reachable(store, place, top)? {
            let known = reached.entry(short(&digest)).and_modify(|known| known.only = None);
            let known = known.or_insert_with(|| first(store, place, &digest, found.len()));
            weight.size += known.allocated.unwrap_or(0);
            weight.objects += u64::from(known.allocated.is_some());
        }
        found.push((tag, top, weight));
    }
    for Reached { allocated, only } in reached.into_values() {
        if let (Some(allocated), Some(only)) = (allocated, only) {
            found[only].2.exclusive += allocated;
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

/// Returns a manifest with its descendants and referrers, which garbage collection keeps with it (`mark.rs`).
fn reachable(store: &BlockingStore<'_>, place: &Repository, top: Digest) -> Result<HashSet<Digest>, Error> {
    let (mut waiting, mut reached) = (vec![top], HashSet::new());
    while let Some(digest) = waiting.pop() {
        let is_manifest = || store.index.link(place, &digest).is_some_and(|link| link.revision);
        if !reached.insert(digest) || !is_manifest() {
            continue;
        }
        let manifest = stored_manifests::read(store.disk, &digest)?;
        waiting.extend(manifest.iter().flat_map(Manifest::children).map(|child| child.digest));
        waiting.extend(store.index.referrers(place, &digest, "", usize::MAX).unwrap_or_default());
    }
    Ok(reached)
}
