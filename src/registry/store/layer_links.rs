//! Links blobs into mirrored repositories.

use super::blob_store::{BlobStore, BlockingStore};
use crate::{
    index::Link,
    lanes::Lane,
    oci::{Digest, Repository},
    storage::{Durability, DurableStore, LinkKind},
};

impl BlobStore {
    /// Links a blob into a repository that is authorized for it. A failed link only costs another request to the
    /// upstream later.
    pub(in crate::registry) async fn link_layer(&self, repository: &Repository, digest: Digest) {
        let repository = repository.clone();
        let held = self.protection.guard_and_lock(&digest).await;
        let link = move |store: &BlockingStore<'_>| {
            let _held = held;
            let linked = store.disk.blob_size(&digest).and_then(|size| {
                let here = size.is_some();
                if here {
                    store.disk.add_link(&repository, LinkKind::Layer, &digest, Durability::Unsynced)?;
                }
                Ok(here)
            });
            match linked {
                Ok(false) => {}
                Err(error) => tracing::warn!("{digest} is not linked in {repository}: {error}"),
                Ok(true) => {
                    store.index.add_repository(&repository);
                    store.index.linked(&repository, &digest, Link { layer: true, ..Link::default() });
                }
            }
        };
        let _ = self.blocking(Lane::Write, link).await;
    }
}
