//! The images whose layers may be requested next, and the bound of prefetches.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    oci::{Digest, Repository},
    registry::store::manifests::StoredManifest,
};

/// Concurrent prefetches. Requests of clients need no permit.
const MAX_CONCURRENT: usize = 8;
/// The longest wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of repositories whose latest images are remembered.
const MAX_REPOSITORIES: u64 = 4096;
/// The number of images remembered of a repository: more than an image has platforms.
const MAX_IMAGES: usize = 32;

/// Images whose manifest was served, latest last, by repository.
type ServedImages = Cache<Repository, Arc<Mutex<Vec<Digest>>>>;

/// The state of prefetching.
#[derive(Debug)]
pub(in crate::registry) struct Prefetches {
    served: ServedImages,
    permits: Arc<Semaphore>,
    enabled: bool,
}

impl Prefetches {
    pub(in crate::registry) fn new(enabled: bool) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        Self { served: Cache::new(MAX_REPOSITORIES), permits, enabled }
    }

    /// Notes that the manifest of an image was served: its layers are requested next.
    pub(in crate::registry) fn note(&self, repository: &Repository, manifest: &StoredManifest) {
        if !self.enabled || manifest.manifest.blobs.len() < 3 {
            // A config and a single layer: there is nothing to fetch ahead.
            return;
        }
        let served = self.served.get_with_by_ref(repository, Arc::default);
        let mut images = served.lock();
        if images.last() == Some(&manifest.digest) {
            return;
        }
        images.retain(|digest| *digest != manifest.digest);
        images.push(manifest.digest);
        if images.len() > MAX_IMAGES {
            images.remove(0);
        }
    }

    /// Returns the images of a repository that were served and not prefetched since, the latest first.
    pub(in crate::registry) fn candidates(&self, repository: &Repository) -> Vec<Digest> {
        let served = self.served.get(repository);
        served.map(|images| images.lock().iter().rev().copied().collect()).unwrap_or_default()
    }

    /// Takes an image; false if another request was first.
    pub(in crate::registry) fn take(&self, repository: &Repository, image: &Digest) -> bool {
        let Some(served) = self.served.get(repository) else { return false };
        let mut images = served.lock();
        let before = images.len();
        images.retain(|digest| digest != image);
        images.len() < before
    }

    /// Waits for a permit to prefetch a layer; `None` after a while, when the client has asked for it by itself.
    /// Otherwise prefetches would pile up that nobody waits for.
    pub(in crate::registry) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        timeout(PERMIT_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()
    }
}
