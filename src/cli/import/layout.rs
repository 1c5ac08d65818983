//! Archives that are OCI image layouts: image-spec, `image-layout.md`.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    archive::{Archive, InvalidArchive},
    archived_images::{ArchivedImage, ArchivedImages},
};
use crate::{
    lanes::Blocking,
    oci::{Digest, ImageName, MANIFEST_TYPES, Manifest, Repository, Tag},
};

/// The document that lists the images.
pub(super) const INDEX: &str = "index.json";
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 4;
/// The annotations with an image's full name, and its tag or its full name.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

#[derive(Deserialize)]
struct LayoutIndex {
    manifests: Vec<LayoutEntry>,
}

#[derive(Deserialize)]
struct LayoutEntry {
    digest: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Reads the images of a layout.
///
/// # Errors
/// [`InvalidArchive`] if a document is malformed, or something is missing.
pub(super) fn read(io: &Blocking, archive: &Archive) -> Result<ArchivedImages, InvalidArchive> {
    let malformed = |reason: String| InvalidArchive::Document { name: INDEX.to_owned(), reason };
    let index = archive.read(io, INDEX, MAX_DOCUMENT_BYTES)?;
    let index: LayoutIndex = serde_json::from_slice(&index).map_err(|error| malformed(error.to_string()))?;
    let mut images = ArchivedImages::default();
    for LayoutEntry { digest, annotations } in &index.manifests {
        let digest: Digest = digest.parse().map_err(|error| malformed(format!("{digest}: {error}")))?;
        let (repository, tag) = name(annotations).map_or((None, None), |(repository, tag)| (Some(repository), tag));
        let mut image = ArchivedImage { repository, tag, ..ArchivedImage::default() };
        add(io, archive, &mut images, &mut image, digest, 0)?;
        images.images.push(image);
    }
    Ok(images)
}

/// Adds a manifest after all that it names.
fn add(
    io: &Blocking,
    archive: &Archive,
    images: &mut ArchivedImages,
    image: &mut ArchivedImage,
    digest: Digest,
    depth: usize,
) -> Result<(), InvalidArchive> {
    if image.manifests.contains(&digest) {
        return Ok(());
    }
    let path = digest.layout_path();
    let bytes = archive.read(io, &path, MAX_DOCUMENT_BYTES)?;
    if !digest.matches(&bytes) {
        return Err(InvalidArchive::Damaged(digest));
    }
    let malformed = |reason: String| InvalidArchive::Document { name: path.clone(), reason };
    let manifest = Manifest::parse(&bytes).map_err(|error| malformed(error.to_string()))?;
    if depth > MAX_DEPTH {
        return Err(malformed("indexes are nested too deep".to_owned()));
    }
    for child in manifest.children().filter(|child| child.urls.is_empty()) {
        if MANIFEST_TYPES.contains(&child.media_type.as_str()) {
            add(io, archive, images, image, child.digest, depth + 1)?;
        } else {
            images.add_entry(archive, child.digest, child.digest.layout_path())?;
            image.add_blob(child.digest);
        }
    }
    images.add_entry(archive, digest, path)?;
    image.manifests.push(digest);
    Ok(())
}

/// Returns the name in a descriptor's annotations. A bare word is a tag, and no name.
fn name(annotations: &HashMap<String, String>) -> Option<(Repository, Option<Tag>)> {
    let named = NAMES.iter().filter_map(|key| annotations.get(*key));
    named.filter(|name| name.contains(['/', ':'])).find_map(|name| parse(name))
}

/// A name without a registry is one of this registry: whatever writes layouts names the Hub.
fn parse(text: &str) -> Option<(Repository, Option<Tag>)> {
    let image: ImageName = text.parse().ok()?;
    let name = match &image.domain {
        Some(_) => image.name,
        // Without the namespace of the Hub's official images.
        None => text.split([':', '@']).next()?.parse().ok()?,
    };
    let tag = image.tag.filter(|_| image.digest.is_none());
    Some((Repository { domain: image.domain, name }, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_a_name_or_a_tag() {
        let named = |pairs: &[(&str, &str)]| {
            let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            name(&annotations).map(|(repository, tag)| format!("{repository} {tag:?}"))
        };
        let [full, reference] = NAMES;
        assert_eq!(named(&[(reference, "1")]), None);
        assert_eq!(named(&[(reference, "1"), (full, "docker.io/library/a:1")]).unwrap(), "docker.io/library/a Some(1)");
        assert_eq!(named(&[(reference, "ghcr.io/org/a:2")]).unwrap(), "ghcr.io/org/a Some(2)");
        assert_eq!(named(&[(full, "app:1")]).unwrap(), "app Some(1)");
        let digest = Digest::sha256(b"");
        assert_eq!(named(&[(full, &format!("docker.io/org/a@{digest}"))]).unwrap(), "docker.io/org/a None");
    }
}
