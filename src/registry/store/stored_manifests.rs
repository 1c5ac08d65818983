//! Reads manifests from the disk, without the cache in memory.

use super::{
    blob_store::{BlockingStore, MAX_IN_MEMORY_BYTES},
    manifests::StoredManifest,
};
use crate::{
    oci::{Digest, Manifest, Repository},
    registry::Error,
    storage::{DurableStore, LinkKind},
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
    for found in store.disk.linked(repository, LinkKind::Revision) {
        let Some(manifest) = read(store.disk, &found?)? else { continue };
        let mut children = manifest.manifests.into_iter().chain(manifest.blobs);
        if let Some(child) = children.find(|child| child.digest == *digest) {
            return Ok(Some(child.size));
        }
    }
    Ok(None)
}

pub(in crate::registry) fn read(disk: impl DurableStore, digest: &Digest) -> Result<Option<Manifest>, Error> {
    Ok(bytes(disk, digest)?.and_then(|bytes| Manifest::parse(&bytes).ok()))
}

pub(in crate::registry) fn read_stored(
    disk: impl DurableStore,
    digest: &Digest,
) -> Result<Option<StoredManifest>, Error> {
    Ok(bytes(disk, digest)?.and_then(|bytes| StoredManifest::new(*digest, bytes.into()).ok()))
}

fn bytes(disk: impl DurableStore, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
    let Some(size) = disk.blob_size(digest)?.filter(|size| *size <= MAX_IN_MEMORY_BYTES) else { return Ok(None) };
    Ok(disk.read_blob(digest, 0..size)?.filter(|bytes| digest.matches(bytes)))
}
