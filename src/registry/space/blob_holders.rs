//! The repositories that reference a blob.

use std::collections::BTreeSet;

use crate::{
    index::{BlobEntry, Index},
    oci::{Digest, Repository},
};

/// A blob and the repositories that reference it.
pub(in crate::registry) struct BlobHolders {
    pub(in crate::registry) holding: BlobEntry,
    /// Ordered, hosted repositories first.
    pub(in crate::registry) holders: BTreeSet<Repository>,
}

impl BlobHolders {
    /// Returns a blob with its repositories. A repository references the blobs that it links; a mirrored one also those
    /// that its manifests name, since it serves them without having fetched them.
    pub(in crate::registry) fn of(index: &Index, digest: &Digest) -> Option<Self> {
        let holding = index.blob_entry(digest)?;
        let mut holders: BTreeSet<_> = index.holders(digest).into_iter().collect();
        for parent in index.parents(digest) {
            holders.extend(index.holders(&parent).into_iter().filter(|place| place.domain.is_some()));
        }
        Some(Self { holding, holders })
    }
}
