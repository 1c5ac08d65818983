//! Reads manifests from the disk, without the cache in memory.

use super::{
    blob_store::{BlobStore, SMALL},
    manifests::StoredManifest,
};
use crate::{
    oci::{Digest, Manifest, Repository},
    registry::Error,
    storage::Storage,
};
/// Returns the size that a manifest of `repository` gives for `digest`. It reads all manifests from the disk, and is
/// used only while the index is incomplete.
///
/// # Errors
/// [`Error::Storage`] if a manifest cannot be read.
pub(in crate::registry) fn named_by(
    store: &BlobStore,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    for found in store.storage.links(repository).revisions() {
        let Some(manifest) = read(&store.storage, &found?)? else { continue };
        let mut children = manifest.manifests.into_iter().chain(manifest.blobs);
        if let Some(child) = children.find(|child| child.digest == *digest) {
            return Ok(Some(child.size));
        }
    }
    Ok(None)
}

pub(in crate::registry) fn read(storage: &Storage, digest: &Digest) -> Result<Option<Manifest>, Error> {
    Ok(bytes(storage, digest)?.and_then(|bytes| Manifest::parse(&bytes).ok()))
}

pub(in crate::registry) fn read_stored(storage: &Storage, digest: &Digest) -> Result<Option<StoredManifest>, Error> {
    Ok(bytes(storage, digest)?.and_then(|bytes| StoredManifest::new(*digest, bytes.into()).ok()))
}

fn bytes(storage: &Storage, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
    let Some(stored) = storage.blob(digest)?.filter(|stored| stored.facts.size <= SMALL) else { return Ok(None) };
    let bytes = storage.bytes(digest, &stored)?;
    Ok(digest.matches(&bytes).then_some(bytes))
}
