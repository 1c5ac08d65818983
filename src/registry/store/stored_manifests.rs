//! Reads manifests from the disk, without the cache in memory.

use super::{
    blob_store::{BlockingStore, MAX_IN_MEMORY_BYTES},
    manifests::StoredManifest,
};
use crate::{
    oci::{Digest, Manifest, Repository},
    registry::Error,
    storage::Disk,
};
/// Returns the size that a manifest of `repository` gives for `digest`. It reads all manifests from the disk, and is
/// used only while the index is incomplete.
///
/// # Errors
/// [`Error::Storage`] if a manifest cannot be read.
pub(in crate::registry) fn named_by(
    store: &BlockingStore<'_>,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    for found in store.disk.links(repository).revisions() {
        let Some(manifest) = read(store.disk, &found?)? else { continue };
        let mut children = manifest.manifests.into_iter().chain(manifest.blobs);
        if let Some(child) = children.find(|child| child.digest == *digest) {
            return Ok(Some(child.size));
        }
    }
    Ok(None)
}

pub(in crate::registry) fn read(disk: Disk<'_>, digest: &Digest) -> Result<Option<Manifest>, Error> {
    Ok(bytes(disk, digest)?.and_then(|bytes| Manifest::parse(&bytes).ok()))
}

pub(in crate::registry) fn read_stored(disk: Disk<'_>, digest: &Digest) -> Result<Option<StoredManifest>, Error> {
    Ok(bytes(disk, digest)?.and_then(|bytes| StoredManifest::new(*digest, bytes.into()).ok()))
}

fn bytes(disk: Disk<'_>, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
    let Some(stored) = disk.blob(digest)?.filter(|stored| stored.stamp.size <= MAX_IN_MEMORY_BYTES) else {
        return Ok(None);
    };
    let bytes = disk.bytes(digest, &stored)?;
    Ok(digest.matches(&bytes).then_some(bytes))
}
