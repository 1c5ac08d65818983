//! The images of an archive and their manifests, and the two documents that describe them.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::{
    admin::ExportedImage,
    cli::Failure,
    oci::{Descriptor, Digest, Manifest, Platform, PlatformSelection},
};

/// The types of a configuration that docker can load.
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// The images and the manifests received so far.
#[derive(Default)]
pub(super) struct ExportedImages {
    images: Vec<ExportedImage>,
    manifests: BTreeMap<Digest, Vec<u8>>,
    receiving: Option<(Digest, u64, Vec<u8>)>,
}

/// The server sent something that is no image.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidExport {
    /// A manifest's bytes do not match its digest.
    #[error("the bytes of manifest {0} do not match it: `entrepot verify` finds what is damaged on the disk")]
    Damaged(Digest),
    /// The bytes are not a manifest.
    #[error("{0} is no manifest of an image")]
    Manifest(String),
    /// It has a layer that is not in any registry.
    #[error("{image} has a layer that registries do not store ({layer}), and cannot be exported")]
    Foreign {
        /// The image.
        image: String,
        /// The layer.
        layer: Digest,
    },
}

impl ExportedImages {
    pub(super) fn add(&mut self, image: ExportedImage) {
        self.images.push(image);
    }

    /// Begins a manifest of so many bytes.
    ///
    /// # Errors
    /// [`Failure`] if the one before was not complete.
    pub(super) fn begin_manifest(&mut self, digest: Digest, bytes: u64) -> Result<(), Failure> {
        self.complete().map_err(Failure::failed)?;
        self.receiving = Some((digest, bytes, Vec::new()));
        Ok(())
    }

    /// Returns whether the next bytes are a manifest's.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving.as_ref().is_some_and(|(_, bytes, taken)| (taken.len() as u64) < *bytes)
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.receiving.iter_mut().for_each(|(.., taken)| taken.extend_from_slice(bytes));
    }

    /// Ends the last manifest.
    ///
    /// # Errors
    /// [`InvalidExport::Damaged`] if its bytes do not match.
    pub(super) fn complete(&mut self) -> Result<(), InvalidExport> {
        let Some((digest, _, bytes)) = self.receiving.take() else { return Ok(()) };
        if !digest.matches(&bytes) {
            return Err(InvalidExport::Damaged(digest));
        }
        self.manifests.insert(digest, bytes);
        Ok(())
    }

    /// Returns the names of the images whose tags the upstream did not confirm.
    pub(super) fn stale(&self) -> impl Iterator<Item = &str> {
        self.images.iter().filter(|image| image.stale).map(|image| image.image.as_str())
    }

    /// Returns the bytes of all manifests.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (&Digest, &Vec<u8>)> {
        self.manifests.iter()
    }

    /// Returns `index.json`: image-spec, "index.json file".
    ///
    /// # Errors
    /// [`InvalidExport::Manifest`] if an image has no manifest.
    pub(super) fn index(&self) -> Result<Value, InvalidExport> {
        let entry = |image: &ExportedImage| {
            let mut annotations = json!({ "io.containerd.image.name": image.image });
            if let Some(tag) = &image.tag {
                annotations["org.opencontainers.image.ref.name"] = json!(tag);
            }
            let size = self.bytes(&image.digest)?.len();
            let media_type = &image.media_type;
            Ok(json!({ "mediaType": media_type, "digest": image.digest, "size": size, "annotations": annotations }))
        };
        let entries = self.images.iter().map(entry).collect::<Result<Vec<_>, InvalidExport>>()?;
        let media_type = "application/vnd.oci.image.index.v1+json";
        Ok(json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
    }

    /// Returns docker's `manifest.json`: an entry for each image for this machine's platform, with all its names. What
    /// is no image for containers is left out.
    ///
    /// # Errors
    /// [`InvalidExport::Manifest`] if an image has no manifest, [`InvalidExport::Foreign`] if a layer is not in the
    /// archive.
    pub(super) fn docker_manifest(&self) -> Result<Value, InvalidExport> {
        let (mut entries, mut seen) = (Vec::<Value>::new(), HashSet::new());
        for image in &self.images {
            let Some(manifest) = self.loadable(&image.digest)? else { continue };
            let Some((config, layers)) = manifest.blobs.split_first() else { continue };
            if let Some(layer) = layers.iter().find(|layer| !layer.urls.is_empty()) {
                return Err(InvalidExport::Foreign { image: image.image.clone(), layer: layer.digest });
            }
            if !CONFIG_TYPES.contains(&config.media_type.as_str()) || !seen.insert(&image.image) {
                continue;
            }
            let path = |blob: &Descriptor| blob.digest.layout_path();
            let tags = image.tag.iter().map(|_| &image.image).collect::<Vec<_>>();
            let layers = layers.iter().map(path).collect::<Vec<_>>();
            entries.push(json!({ "Config": path(config), "RepoTags": tags, "Layers": layers }));
        }
        Ok(entries.into())
    }

    /// Returns the image manifest that docker loads: of an index, this machine's, or else the first one.
    fn loadable(&self, digest: &str) -> Result<Option<Manifest>, InvalidExport> {
        let top = self.parsed(digest)?;
        if top.manifests.is_empty() {
            return Ok(Some(top));
        }
        let host = PlatformSelection::Only(vec![Platform::host()]);
        let chosen = host.select(&top).ok().and_then(|chosen| chosen.first().map(|chosen| chosen.digest));
        let all = chosen.into_iter().chain(top.manifests.iter().map(|child| child.digest));
        let mut images = all.filter_map(|child| self.parsed(&child.to_string()).ok());
        Ok(images.find(Manifest::is_image))
    }

    fn parsed(&self, digest: &str) -> Result<Manifest, InvalidExport> {
        Manifest::parse(self.bytes(digest)?).map_err(|_| InvalidExport::Manifest(digest.to_owned()))
    }

    fn bytes(&self, digest: &str) -> Result<&Vec<u8>, InvalidExport> {
        let bytes = digest.parse().ok().and_then(|digest: Digest| self.manifests.get(&digest));
        bytes.ok_or_else(|| InvalidExport::Manifest(digest.to_owned()))
    }
}
