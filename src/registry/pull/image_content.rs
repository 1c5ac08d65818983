//! The content of a whole image: its manifests for the wanted platforms, and the blobs that they name.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use crate::{
    oci::{
        Descriptor, Digest, Domain, ImageName, Manifest, NoImageForPlatform, PlatformSelection, Reference, Repository,
        RepositoryName,
    },
    registry::{CacheStatus, Error, Registry, StoredManifest},
};

/// The manifests and blobs of an image.
#[derive(Debug, Default)]
pub struct ImageContent {
    /// The manifests, each with its source; the one that the image's name refers to is the first.
    pub manifests: Vec<(Arc<StoredManifest>, CacheStatus)>,
    /// The blobs that these name, each once, without those that registries do not store.
    pub blobs: Vec<Descriptor>,
    known: HashSet<Digest>,
}

/// The reason that an image cannot be had as a whole.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry in its name is not configured.
    #[error("{0} is no upstream of this server: list it in proxy.upstreams")]
    NotMirrored(String),
    /// The repository has no such image, or the upstream does not show it to this server.
    #[error("there is no such image in {0}, or this server may not see it: check its name and tag")]
    Unknown(Repository),
    /// The Hub has no such image, and a repository of this name was pushed here.
    #[error(
        "there is no such image in {0}, or this server may not see it; of the repository {1}, which was pushed here, write localhost/{1}"
    )]
    Pushed(Repository, RepositoryName),
    /// The image is not made for a wanted platform.
    #[error(transparent)]
    Platform(#[from] NoImageForPlatform),
    /// It was fetched, and is not in the cache.
    #[error("{0} is not kept, for want of space: the server's log names the bound (storage.quota, storage.maxobject)")]
    NotKept(Digest),
    /// Any other failure.
    #[error(transparent)]
    Registry(#[from] Error),
}

impl ImageError {
    fn of(error: Error, repository: &Repository) -> Self {
        match error {
            Error::ManifestUnknown | Error::NameUnknown => Self::Unknown(repository.clone()),
            error => Self::Registry(error),
        }
    }
}

impl ImageContent {
    fn add_blob(&mut self, blob: &Descriptor) {
        if blob.urls.is_empty() && self.known.insert(blob.digest) {
            self.blobs.push(blob.clone());
        }
    }

    /// Returns the digest that the image's name refers to.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.manifests.first().map(|(manifest, _)| manifest.digest)
    }
}

impl Registry {
    /// Returns the repository and the reference that the name of an image addresses. A name without a registry
    /// addresses what a request without `ns` does; if that is no upstream's, a name without a slash is not the Hub's.
    ///
    /// # Errors
    /// [`ImageError::NotMirrored`] if its registry is not configured, [`ImageError::Registry`] if the disk fails.
    pub async fn addressed(&self, image: &ImageName) -> Result<(Repository, Reference), ImageError> {
        let ns = image.domain.as_ref().map(ToString::to_string);
        match self.repository(image.name.clone(), ns.as_deref()).await {
            Ok(repository) => {
                let short = image.without_namespace().filter(|_| repository.domain.is_none());
                match short.map(|name| Repository { domain: None, name }) {
                    Some(short) if !self.is_here(&repository).await? => Ok((short, image.reference())),
                    _ => Ok((repository, image.reference())),
                }
            }
            Err(Error::NotMirrored(domain)) => Err(ImageError::NotMirrored(domain)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the manifests of an image, which are fetched if they are not stored, and its blobs, which are not.
    ///
    /// # Errors
    /// [`ImageError::Unknown`] if there is no such image, [`ImageError::Platform`] if it has none for a wanted
    /// platform, [`ImageError::Registry`] if a manifest cannot be had.
    pub async fn image_content(
        self: &Arc<Self>,
        repository: &Repository,
        reference: &Reference,
        platforms: &PlatformSelection,
    ) -> Result<ImageContent, ImageError> {
        let mut content = ImageContent::default();
        let mut wanted = VecDeque::from([reference.clone()]);
        while let Some(reference) = wanted.pop_front() {
            let pulled = self.manifest(repository, &reference).await;
            let (manifest, cache_status) = match pulled {
                Ok(pulled) => pulled,
                Err(error) => return Err(self.image_error(error, repository).await),
            };
            if !content.known.insert(manifest.digest) {
                continue;
            }
            for child in children(&manifest.manifest, platforms)? {
                match child.is_manifest() {
                    true => wanted.push_back(Reference::Digest(child.digest)),
                    false => content.add_blob(child),
                }
            }
            manifest.manifest.blobs.iter().for_each(|blob| content.add_blob(blob));
            content.manifests.push((manifest, cache_status));
        }
        Ok(content)
    }
}

impl Registry {
    /// Returns the error for an image, with the name of a pushed one that may be meant.
    async fn image_error(&self, error: Error, repository: &Repository) -> ImageError {
        let error = ImageError::of(error, repository);
        let hub = repository.domain.as_ref().is_some_and(|domain| *domain == Domain::docker_hub());
        let name = repository.name.without_namespace();
        let (ImageError::Unknown(_), true, Some(name)) = (&error, hub, name) else { return error };
        match self.is_here(&Repository { domain: None, name: name.clone() }).await {
            Ok(true) => ImageError::Pushed(repository.clone(), name),
            _ => error,
        }
    }
}

fn children<'a>(
    manifest: &'a Manifest,
    platforms: &PlatformSelection,
) -> Result<Vec<&'a Descriptor>, NoImageForPlatform> {
    if manifest.manifests.is_empty() { Ok(Vec::new()) } else { platforms.select(manifest) }
}
