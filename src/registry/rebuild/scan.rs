//! Compares the blob entries of the index with the files on disk, and corrects the index and the ledger.

use crate::{
    index::Link,
    oci::Digest,
    registry::{
        Error,
        store::{access_tracker, blob_store::BlockingStore},
    },
    storage::DurableStore,
};

/// Walks the disk and corrects the index and the ledger.
///
/// # Errors
/// [`Error::Storage`] if a part of the disk cannot be read.
pub(in crate::registry) fn scan(store: &BlockingStore<'_>) -> Result<(), Error> {
    let drift = store.disk.scan(|prefix_dir| prefix_dir.iter().try_for_each(|digest| found(store, digest)))?;
    forget_missing(store)?;
    tracing::debug!(drift, "corrected the bytes of folders, links and sessions");
    Ok(())
}

/// Indexes a blob found on disk. Its owner is set later, from its links.
fn found(store: &BlockingStore<'_>, digest: &Digest) -> Result<(), Error> {
    let _lock = store.protection.locks.digest(digest);
    let Some(stored) = store.disk.blob(digest)? else { return Ok(()) };
    if store.index.blob_entry(digest).is_none_or(|held| held.allocated != stored.allocated) {
        store.index.discovered(digest, stored.allocated, modified(stored.stamp.mtime));
    }
    Ok(())
}

/// Removes blobs from the index that do not exist on disk.
fn forget_missing(store: &BlockingStore<'_>) -> Result<(), Error> {
    for digest in store.index.blob_batches().flatten() {
        let _lock = store.protection.locks.digest(&digest);
        if store.disk.blob_size(&digest)?.is_none() {
            forget_gone(store, &digest);
        }
    }
    Ok(())
}

/// Removes a blob from the index, together with its links in mirrored repositories: both were removed from the disk
/// while there was no index. Links that do exist are added again later.
fn forget_gone(store: &BlockingStore<'_>, digest: &Digest) {
    for place in store.index.holders(digest).iter().filter(|place| place.domain.is_some()) {
        store.index.remove_link(place, digest, Link { revision: true, layer: true, ..Link::default() });
    }
    store.index.removed(digest);
}

/// Returns the time a file was written, in seconds since the epoch, as the best known access time. A time in the future
/// counts as now.
fn modified(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0).min(access_tracker::now())
}
