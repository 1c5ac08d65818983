//! Archives of docker without an image layout: `manifest.json`, configurations and layers, but no manifests.

use serde::Deserialize;
use serde_json::json;

use super::{
    archive::{Archive, InvalidArchive},
    archived_images::{ArchivedImage, ArchivedImages},
    layer_digests::LayerDigests,
};
use crate::{
    lanes::Blocking,
    oci::{Algorithm, Digest, Domain, ImageName, InvalidImageName, MediaType, Repository},
};

/// The document that lists the images.
pub(super) const MANIFEST: &str = "manifest.json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The part of a configuration that names the layers: image-spec `config.md`.
#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    /// The digests of the layers as they are unpacked.
    diff_ids: Vec<String>,
}

/// Reads the images of a docker archive, and makes a manifest for each. A document may have `most` bytes.
///
/// # Errors
/// [`InvalidArchive`] if a document is malformed, something is missing, or a layer is not that of its configuration.
pub(super) fn read(io: &Blocking, archive: &Archive, most: u64) -> Result<ArchivedImages, InvalidArchive> {
    let malformed = |reason: String| InvalidArchive::Document { name: MANIFEST.to_owned(), reason };
    let listed = archive.read(io, MANIFEST, most)?;
    let listed: Vec<DockerEntry> = serde_json::from_slice(&listed).map_err(|error| malformed(error.to_string()))?;
    let mut images = ArchivedImages::default();
    for entry in &listed {
        let image = image(io, archive, &mut images, entry, most)?;
        let names = entry.repo_tags.iter().flatten().map(|name| name.parse());
        let names: Vec<ImageName> =
            names.collect::<Result<_, _>>().map_err(|error: InvalidImageName| malformed(error.to_string()))?;
        let named = names.into_iter().map(|name| {
            let domain = Some(name.domain.unwrap_or_else(Domain::docker_hub));
            ArchivedImage { repository: Some(Repository { domain, name: name.name }), tag: name.tag, ..image.clone() }
        });
        let before = images.images.len();
        images.images.extend(named);
        if images.images.len() == before {
            images.images.push(image);
        }
    }
    Ok(images)
}

/// Returns an image without a name.
fn image(
    io: &Blocking,
    archive: &Archive,
    images: &mut ArchivedImages,
    entry: &DockerEntry,
    most: u64,
) -> Result<ArchivedImage, InvalidArchive> {
    let mut image = ArchivedImage { is_made: true, ..ArchivedImage::default() };
    let config = archive.digest(io, &entry.config, Algorithm::Sha256)?;
    if let Some(named) = digest_in(&entry.config).filter(|named| *named != config) {
        return Err(InvalidArchive::Damaged(named));
    }
    let diff_ids = diff_ids(io, archive, entry, most)?;
    images.add_hashed(archive, config, entry.config.clone())?;
    image.add_blob(config);
    let mut layers = Vec::new();
    for (layer, diff_id) in entry.layers.iter().zip(diff_ids) {
        let mut digests = LayerDigests::new(archive.is_gzip(io, layer)?);
        archive.copy(io, layer, &mut digests)?;
        let media_type = digests.media_type();
        let (digest, unpacked) = digests.finish();
        if unpacked != Some(diff_id) {
            return Err(InvalidArchive::Layer { layer: layer.clone(), diff_id });
        }
        images.add_hashed(archive, digest, layer.clone())?;
        image.add_blob(digest);
        layers.push(descriptor(images, digest, media_type));
    }
    let (config, media_type) = (descriptor(images, config, CONFIG_TYPE), MediaType::OCI_MANIFEST);
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    image.add_manifest(images.add_made(manifest.to_string().into_bytes()));
    Ok(image)
}

/// Returns the digests that the configuration has of the layers, one for each.
fn diff_ids(io: &Blocking, archive: &Archive, entry: &DockerEntry, most: u64) -> Result<Vec<Digest>, InvalidArchive> {
    let malformed = |reason: String| InvalidArchive::Document { name: entry.config.clone(), reason };
    let document = archive.read(io, &entry.config, most)?;
    let parsed: Configuration = serde_json::from_slice(&document).map_err(|error| malformed(error.to_string()))?;
    let diff_ids = parsed.rootfs.diff_ids;
    if diff_ids.len() != entry.layers.len() {
        let (own, listed) = (diff_ids.len(), entry.layers.len());
        return Err(malformed(format!("it has {own} layers, and {MANIFEST} {listed}")));
    }
    let parsed = diff_ids.iter().map(|digest| digest.parse().map_err(|error| malformed(format!("{digest}: {error}"))));
    parsed.collect()
}

/// Returns the digest that a configuration is named by, as docker and most others do: `<hex>.json`, `sha256:<hex>`, or
/// `blobs/sha256/<hex>`.
fn digest_in(name: &str) -> Option<Digest> {
    let file = name.rsplit('/').next()?;
    let file = file.strip_suffix(".json").unwrap_or(file);
    format!("sha256:{}", file.strip_prefix("sha256:").unwrap_or(file)).parse().ok()
}

fn descriptor(images: &ArchivedImages, digest: Digest, media_type: &str) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": images.size(&digest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_may_be_named_by_its_digest() {
        let digest = Digest::sha256(b"{}");
        let hex = digest.hex();
        for name in [format!("{hex}.json"), format!("sha256:{hex}"), format!("blobs/sha256/{hex}"), hex.clone()] {
            assert_eq!(digest_in(&name), Some(digest), "{name}");
        }
        for name in ["config.json", "", "/", "sha256:", &hex[1..]] {
            assert_eq!(digest_in(name), None, "{name}");
        }
    }
}
