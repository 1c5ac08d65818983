//! The disk usage of one repository, with the figures that a count of everything has for it (`disk_usage.rs`).

use super::{blob_holders::BlobHolders, blob_usage::BlobUsage, tally::Tally};
use crate::{oci::Repository, registry::store::blob_store::BlockingStore};

/// Returns the disk usage of all blobs that a repository references. Reads only what the index has of it.
pub(in crate::registry) fn weigh(store: &BlockingStore<'_>, place: &Repository) -> BlobUsage {
    let mut tally = Tally::default();
    for (digest, link) in store.index.link_batches(place).flatten() {
        // A hosted repository holds only what it links, so that the manifest alone makes no holder.
        if let Some(held) = BlobHolders::of(store.index, &digest).filter(|held| held.holders.contains(place)) {
            tally.add(&held.holding, held.holders.len() == 1, link.revision);
        }
    }
    tally.usage()
}
