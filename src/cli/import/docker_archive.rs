//! Archives of docker without an image layout: `manifest.json`, configurations and layers, but no manifests.

use serde::Deserialize;
use serde_json::json;

use super::{
    archive::{Archive, InvalidArchive},
    archived_images::{ArchivedImage, ArchivedImages},
};
use crate::{
    lanes::Blocking,
    oci::{Algorithm, Digest, Domain, ImageName, InvalidImageName, MediaType, Repository},
};

/// The document that lists the images.
pub(super) const MANIFEST: &str = "manifest.json";
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads the images of a docker archive, and makes a manifest for each.
///
/// # Errors
/// [`InvalidArchive`] if a document is malformed, or something is missing.
pub(super) fn read(io: &Blocking, archive: &Archive) -> Result<ArchivedImages, InvalidArchive> {
    let malformed = |reason: String| InvalidArchive::Document { name: MANIFEST.to_owned(), reason };
    let listed = archive.read(io, MANIFEST, MAX_DOCUMENT_BYTES)?;
    let listed: Vec<DockerEntry> = serde_json::from_slice(&listed).map_err(|error| malformed(error.to_string()))?;
    let mut images = ArchivedImages::default();
    for DockerEntry { config, repo_tags, layers } in &listed {
        let mut image = ArchivedImage { is_made: true, ..ArchivedImage::default() };
        let config_type = "application/vnd.oci.image.config.v1+json";
        let config = blob(io, archive, &mut images, &mut image, config, config_type)?;
        let layers = layers.iter().map(|layer| {
            let gzip = if archive.is_gzip(io, layer)? { "+gzip" } else { "" };
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{gzip}");
            blob(io, archive, &mut images, &mut image, layer, &media_type)
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let media_type = MediaType::OCI_MANIFEST;
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        image.manifests.push(images.add_made(manifest.to_string().into_bytes()));
        let names = repo_tags.iter().flatten().map(|name| name.parse());
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

/// Adds a file as a blob. Returns its descriptor.
fn blob(
    io: &Blocking,
    archive: &Archive,
    images: &mut ArchivedImages,
    image: &mut ArchivedImage,
    name: &str,
    media_type: &str,
) -> Result<serde_json::Value, InvalidArchive> {
    let digest: Digest = archive.digest(io, name, Algorithm::Sha256)?;
    images.add_entry(archive, digest, name.to_owned())?;
    image.add_blob(digest);
    Ok(json!({ "mediaType": media_type, "digest": digest.to_string(), "size": images.size(&digest) }))
}
