//! Fetches whole images ahead of their pulls, by the rules of pulls: whatever is here is not fetched, and whatever is
//! being fetched is waited for.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::image_content::{ImageContent, ImageError};
use crate::{
    oci::{Descriptor, Digest, PlatformSelection, Reference, Repository},
    registry::{CacheStatus, Registry, StoreResult},
};

/// The most blobs of one image that are fetched at once.
const MAX_CONCURRENT_BLOBS: usize = 3;

/// The progress of warming an image.
#[derive(Clone, Debug)]
pub enum WarmEvent {
    /// The image consists of these blobs.
    Planned(Vec<Descriptor>),
    /// So many bytes of a blob are here.
    Progress {
        /// The blob.
        digest: Digest,
        /// The bytes here.
        bytes: u64,
        /// Its size.
        of: u64,
    },
}

/// The callback for the progress of warming an image.
pub type OnWarmEvent<'a> = &'a (dyn Fn(WarmEvent) + Send + Sync);

/// An image that is in the cache as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmImage {
    /// The manifest that its name refers to.
    pub digest: Digest,
    /// Bytes fetched for it.
    pub fetched: u64,
    /// Bytes that were here, or came for another request.
    pub present: u64,
    /// True if the upstream could not confirm it.
    pub stale: bool,
}

impl WarmImage {
    /// `was_fetched` is false for content that this request did not fetch itself.
    fn add(&mut self, bytes: u64, cache_status: CacheStatus) {
        match cache_status {
            CacheStatus::Miss { collapsed: false, .. } => self.fetched += bytes,
            _ => self.present += bytes,
        }
        self.stale |= matches!(cache_status, CacheStatus::Stale { .. });
    }
}

impl Registry {
    /// Fetches whatever is missing of an image for these platforms. Renews the leases of all of it.
    ///
    /// # Errors
    /// [`ImageError::Unknown`], [`ImageError::Platform`] if there is no such image, [`ImageError::NotKept`] if there is
    /// no space for it, [`ImageError::Registry`] if its upstream or the disk fails.
    pub async fn warm(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        platforms: &PlatformSelection,
        on_event: OnWarmEvent<'_>,
    ) -> Result<WarmImage, ImageError> {
        let content = self.image_content(repository, reference, platforms).await?;
        let digest = content.digest().ok_or_else(|| ImageError::Unknown(repository.clone()))?;
        on_event(WarmEvent::Planned(content.blobs.clone()));
        let fetches: Vec<_> = content.blobs.iter().map(|blob| self.warm_blob(repository, blob, on_event)).collect();
        let blobs: Vec<_> = stream::iter(fetches).buffer_unordered(MAX_CONCURRENT_BLOBS).try_collect().await?;
        self.check_kept(&content).await?;
        let mut warm = WarmImage { digest, fetched: 0, present: 0, stale: false };
        for (manifest, cache_status) in &content.manifests {
            warm.add(manifest.bytes.len() as u64, *cache_status);
        }
        blobs.into_iter().for_each(|(size, cache_status)| warm.add(size, cache_status));
        Ok(warm)
    }

    /// Waits until a blob is stored. Returns its size and its source.
    async fn warm_blob(
        &self,
        repository: &Repository,
        wanted: &Descriptor,
        on_event: OnWarmEvent<'_>,
    ) -> Result<(u64, CacheStatus), ImageError> {
        let digest = wanted.digest;
        let mut blob = self.open_blob(repository, &digest, || ()).await?;
        let (of, cache_status) = (blob.size, blob.cache_status);
        let progress = |bytes| on_event(WarmEvent::Progress { digest, bytes, of });
        match blob.stored_whole(progress).await? {
            StoreResult::Stored => {
                progress(of);
                Ok((of, cache_status))
            }
            StoreResult::Nothing | StoreResult::Refused(_) => Err(ImageError::NotKept(digest)),
        }
    }

    /// Checks that an image is on the disk: what came first may have been evicted since, and a manifest may be in
    /// memory only.
    async fn check_kept(&self, content: &ImageContent) -> Result<(), ImageError> {
        let manifests = content.manifests.iter().map(|(manifest, _)| manifest.digest);
        for digest in manifests.chain(content.blobs.iter().map(|blob| blob.digest)) {
            if !self.store.has(digest).await? {
                return Err(ImageError::NotKept(digest));
            }
        }
        Ok(())
    }
}
