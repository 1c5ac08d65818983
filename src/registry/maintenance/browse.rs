//! For people who browse the registry: the usage of all repositories, and the parts of one image.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{image_report, operations::Maintenance};
use crate::{
    lanes::{Blocking, Lane},
    oci::{Descriptor, Digest, Reference, Repository},
    registry::{
        Error, Registry, StoredManifest, UsageCount, UsageEvent, UsageSnapshot,
        space::blob_holders::BlobHolders,
        store::{
            blob_store::{BlockingStore, MAX_IN_MEMORY_BYTES},
            stored_manifests,
        },
    },
    storage::DurableStore,
};

/// The most referrers that are listed.
const MAX_REFERRERS: usize = 100;

/// A manifest with what it names.
#[derive(Debug)]
pub struct ImageParts {
    /// The manifest.
    pub manifest: StoredManifest,
    /// The bytes of the image's configuration (image-spec, `config.md`), if they are here.
    pub config: Option<Vec<u8>>,
    /// The configuration and the layers, or the manifests of an index.
    pub children: Vec<ImagePart>,
    /// The manifests that refer to it as their subject: signatures, SBOMs and the like.
    pub referrers: Vec<Digest>,
}

/// A blob or manifest that a manifest names.
#[derive(Debug)]
pub struct ImagePart {
    /// Its description in the manifest.
    pub descriptor: Descriptor,
    /// The bytes that it occupies; `None` if it is not here.
    pub allocated: Option<u64>,
    /// The other repositories that reference it.
    pub others: Vec<Repository>,
}

impl Registry {
    /// Returns the latest count of all repositories, and has one made if that is old, for which it waits a little.
    /// `None` until the first is made.
    pub async fn usage_snapshot(self: &Arc<Self>, patience: Duration) -> Option<Arc<UsageSnapshot>> {
        if self.usage_snapshots.begin() {
            let registry = Arc::clone(self);
            let counted = self.lanes().start(Lane::Job, move |io| registry.take_usage_snapshot(io));
            // It goes on if it takes longer.
            let _ = tokio::time::timeout(patience, counted).await;
        }
        self.usage_snapshots.latest()
    }

    fn take_usage_snapshot(&self, io: &Blocking) {
        let (begun, at, mut repositories) = (Instant::now(), SystemTime::now(), Vec::new());
        let mut on_event = |event| match event {
            // Browsing does not wait for an index that is being made.
            UsageEvent::Step { of: None, .. } => ControlFlow::Break(()),
            UsageEvent::Repository(repository, usage) => {
                repositories.push((repository, usage));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        };
        let counted = self.maintenance(io).count(&UsageCount::default(), &mut on_event);
        self.usage_snapshots.end(begun, counted.ok().map(|_| UsageSnapshot { at, repositories }));
    }

    /// Returns whether a repository's content is never evicted.
    #[must_use]
    pub fn is_pinned(&self, repository: &Repository) -> bool {
        repository.domain.is_some() && self.store.space.is_pinned(repository)
    }
}

impl Maintenance<'_> {
    /// Returns a manifest of a repository with what it names; `None` if the repository does not have it. Blocks.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub fn image_parts(&self, place: &Repository, reference: &Reference) -> Result<Option<ImageParts>, Error> {
        let store = &self.store;
        let Some(digest) = image_report::named(store, place, reference)? else { return Ok(None) };
        let Some(manifest) = stored_manifests::read_stored(store.disk, &digest)? else { return Ok(None) };
        let children = manifest.manifest.manifests.iter().chain(&manifest.manifest.blobs);
        let children: Vec<_> = children.map(|child| part(store, place, child)).collect();
        let config = match manifest.manifest.blobs.first() {
            Some(config) => document(store, config)?,
            None => None,
        };
        let referrers = store.index.referrers(place, &digest, "", MAX_REFERRERS).unwrap_or_default();
        Ok(Some(ImageParts { manifest, config, children, referrers }))
    }
}

fn part(store: &BlockingStore<'_>, place: &Repository, descriptor: &Descriptor) -> ImagePart {
    let held = BlobHolders::of(store.index, &descriptor.digest).filter(|held| held.holders.contains(place));
    let allocated = held.as_ref().map(|held| held.holding.allocated);
    let others = held.into_iter().flat_map(|held| held.holders).filter(|other| other != place).collect();
    ImagePart { descriptor: descriptor.clone(), allocated, others }
}

/// Returns the bytes of a small JSON document, if they are here and right.
fn document(store: &BlockingStore<'_>, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
    let digest = &descriptor.digest;
    let is_document = descriptor.media_type.as_str().ends_with("json");
    let size = if is_document { store.disk.blob_size(digest)? } else { None };
    let Some(size) = size.filter(|size| *size <= MAX_IN_MEMORY_BYTES) else { return Ok(None) };
    Ok(store.disk.read_blob(digest, 0..size)?.filter(|bytes| digest.matches(bytes)))
}
