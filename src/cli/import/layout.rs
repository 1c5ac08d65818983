//! Archives that are OCI image layouts: image-spec, `image-layout.md`.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{
    archive::{Archive, INDEX, InvalidArchive},
    archived_images::{ArchivedImage, ArchivedImages},
};
use crate::{
    lanes::Blocking,
    oci::{Digest, ImageName, Manifest, Repository, Tag},
};

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

/// The manifests of an archive, as they are read.
struct LayoutReader<'a> {
    io: &'a Blocking,
    archive: &'a Archive,
    images: ArchivedImages,
    /// The most bytes of a document.
    most: u64,
    /// The manifests that cannot be added because something is missing. Indexes may name one many times.
    missing: HashSet<Digest>,
}

/// Reads the images of a layout. A document may have `most` bytes.
///
/// # Errors
/// [`InvalidArchive`] if a document is malformed, or something is missing.
pub(super) fn read(io: &Blocking, archive: &Archive, most: u64) -> Result<ArchivedImages, InvalidArchive> {
    let malformed = |reason: String| InvalidArchive::Document { name: INDEX.to_owned(), reason };
    let index = archive.read(io, INDEX, most)?;
    let index: LayoutIndex = serde_json::from_slice(&index).map_err(|error| malformed(error.to_string()))?;
    let mut reader = LayoutReader { io, archive, images: ArchivedImages::default(), most, missing: HashSet::new() };
    for LayoutEntry { digest, annotations } in &index.manifests {
        let digest: Digest = digest.parse().map_err(|error| malformed(format!("{digest}: {error}")))?;
        let (repository, tag) = name(annotations).map_or((None, None), |(repository, tag)| (Some(repository), tag));
        let mut image = ArchivedImage { repository, tag, ..ArchivedImage::default() };
        reader.add(&mut image, digest, 0)?;
        reader.images.images.push(image);
    }
    Ok(reader.images)
}

impl LayoutReader<'_> {
    /// Adds a manifest after all that it names, unless something was found missing before.
    fn add(&mut self, image: &mut ArchivedImage, digest: Digest, depth: usize) -> Result<(), InvalidArchive> {
        if self.missing.contains(&digest) {
            return Err(InvalidArchive::Missing(digest.layout_path()));
        }
        let added = self.add_once(image, digest, depth);
        if let Err(InvalidArchive::Missing(_)) = &added {
            self.missing.insert(digest);
        }
        added
    }

    fn add_once(&mut self, image: &mut ArchivedImage, digest: Digest, depth: usize) -> Result<(), InvalidArchive> {
        if image.has(&digest) {
            return Ok(());
        }
        let path = digest.layout_path();
        let bytes = self.archive.read(self.io, &path, self.most)?;
        if !digest.matches(&bytes) {
            return Err(InvalidArchive::Damaged(digest));
        }
        let malformed = |reason: String| InvalidArchive::Document { name: path.clone(), reason };
        let manifest = Manifest::parse(&bytes).map_err(|error| malformed(error.to_string()))?;
        if depth > MAX_DEPTH {
            return Err(malformed("indexes are nested too deep".to_owned()));
        }
        self.add_children(image, &manifest, depth)?;
        for blob in manifest.blobs.iter().filter(|blob| blob.urls.is_empty()) {
            self.add_blob(image, blob.digest)?;
        }
        self.images.add_hashed(self.archive, digest, path)?;
        image.add_manifest(digest);
        Ok(())
    }

    /// Adds the entries of an index. An archive may have only some of its manifests, as `docker save` writes it of an
    /// image that was pulled for one platform; without any, there is no image.
    fn add_children(
        &mut self,
        image: &mut ArchivedImage,
        index: &Manifest,
        depth: usize,
    ) -> Result<(), InvalidArchive> {
        let (mut added, mut missing) = (0, None);
        for child in index.manifests.iter().filter(|child| child.urls.is_empty()) {
            if !child.is_manifest() {
                self.add_blob(image, child.digest)?;
                continue;
            }
            image.listed += 1;
            let before = image.mark();
            match self.add(image, child.digest, depth + 1) {
                Ok(()) => added += 1,
                Err(error @ InvalidArchive::Missing(_)) => {
                    image.reset(before);
                    image.missing += 1;
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        missing.filter(|_| added == 0).map_or(Ok(()), Err)
    }

    fn add_blob(&mut self, image: &mut ArchivedImage, digest: Digest) -> Result<(), InvalidArchive> {
        if !image.has(&digest) {
            self.images.add_entry(self.archive, digest, digest.layout_path())?;
            image.add_blob(digest);
        }
        Ok(())
    }
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
