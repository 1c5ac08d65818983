//! Prefetching: the first request for a layer of an image begins to fetch its other layers, since the client asks for
//! them next, a few at a time.
//!
//! Only the layers of that image: clients ask for the manifests and configs of all platforms, but for the layers of
//! their own. A prefetch is a fill like any other, which the client's own request joins. Where the disk keeps nothing,
//! there is none.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    oci::{Digest, Repository},
    registry::{Error, Registry, StoreResult, error::cached_or_unknown},
    storage::Purpose,
};

impl Registry {
    /// Begins to fetch the other layers of the image that a requested layer belongs to.
    pub(in crate::registry) fn prefetch(self: &Arc<Self>, repository: &Repository, layer: &Digest) {
        let candidates = self.prefetches.candidates(repository);
        if candidates.is_empty() {
            return;
        }
        let (registry, repository, layer) = (Arc::clone(self), repository.clone(), *layer);
        self.tasks.spawn(async move {
            for image in candidates {
                let Some(layers) = registry.layers_beside(&image, &layer).await else { continue };
                if registry.prefetches.take(&repository, &image) {
                    registry.prefetch_layers(&repository, layers).await;
                }
                return;
            }
        });
    }

    /// Returns the other layers of an image, in its order; `None` if the digest is none of its layers.
    async fn layers_beside(&self, image: &Digest, layer: &Digest) -> Option<Vec<Digest>> {
        let manifest = cached_or_unknown(self.manifests.get(image).await)?;
        // The first blob is the config.
        let layers = manifest.manifest.blobs.iter().skip(1).filter(|blob| blob.urls.is_empty());
        let layers: Vec<_> = layers.map(|blob| blob.digest).collect();
        layers.contains(layer).then(|| layers.into_iter().filter(|other| other != layer).collect())
    }

    async fn prefetch_layers(self: &Arc<Self>, repository: &Repository, layers: Vec<Digest>) {
        let no_room = Arc::new(AtomicBool::new(false));
        for layer in layers {
            let Some(permit) = self.prefetches.permit().await else { return };
            if no_room.load(Relaxed) {
                return;
            }
            let (registry, repository, no_room) = (Arc::clone(self), repository.clone(), Arc::clone(&no_room));
            self.tasks.spawn(async move {
                match registry.prefetch_layer(&repository, &layer).await {
                    Ok(StoreResult::Stored) => {}
                    Ok(StoreResult::Nothing | StoreResult::Refused(_)) => no_room.store(true, Relaxed),
                    // The client's own request tells of it.
                    Err(error) => tracing::debug!(%repository, digest = %layer, %error, "layer not prefetched"),
                }
                drop(permit);
            });
        }
    }

    /// Fetches a layer that nobody has asked for yet, and waits for the end. It does not count as used or wanted.
    async fn prefetch_layer(&self, repository: &Repository, digest: &Digest) -> Result<StoreResult, Error> {
        if self.store.has(*digest).await? {
            return Ok(StoreResult::Stored);
        }
        let link = cached_or_unknown(self.blob_link(repository, digest).await);
        // Without room, the fetch would be in vain. The fill reserves for itself.
        let size = link.and_then(|link| link.named).unwrap_or_default();
        if self.store.reserve(Purpose::Mirrored, size).await.is_err() {
            return Ok(StoreResult::Nothing);
        }
        let mut blob = self.fill(repository, digest, link).await?;
        blob.stored_whole(|_| ()).await
    }
}
