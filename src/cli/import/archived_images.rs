//! The images of an archive: their names, manifests and blobs, and the bytes of these.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
};

use super::archive::{Archive, InvalidArchive};
use crate::{
    cli::Failure,
    lanes::Blocking,
    oci::{Digest, Domain, Reference, Repository, RepositoryName, Tag},
};

/// All images of an archive.
#[derive(Default)]
pub(super) struct ArchivedImages {
    pub(super) images: Vec<ArchivedImage>,
    contents: HashMap<Digest, Content>,
}

/// An image of an archive.
#[derive(Clone, Debug, Default)]
pub(super) struct ArchivedImage {
    /// The repository, and its registry if the name has one.
    pub(super) repository: Option<Repository>,
    pub(super) tag: Option<Tag>,
    /// Children first; the last one has the tag.
    pub(super) manifests: Vec<Digest>,
    pub(super) blobs: Vec<Digest>,
    /// All of these.
    pub(super) known: HashSet<Digest>,
    /// The manifests that its indexes name.
    pub(super) listed: usize,
    /// Those of them that are not in the archive, or not with all their blobs.
    pub(super) missing: usize,
    /// True if the archive had no manifest, so that one was made.
    pub(super) is_made: bool,
}

/// The bytes of a digest.
enum Content {
    /// A file of the archive.
    Entry(ArchivedFile),
    Made(Vec<u8>),
}

struct ArchivedFile {
    name: String,
    bytes: u64,
    /// True if its digest was computed from its bytes.
    is_hashed: bool,
}

/// The state of an image before a manifest was added to it.
#[derive(Clone, Copy)]
pub(super) struct ImageMark {
    manifests: usize,
    blobs: usize,
    listed: usize,
    missing: usize,
}

impl ArchivedImage {
    /// The image's name, as far as it has one.
    pub(super) fn name(&self) -> String {
        match (&self.repository, &self.tag, self.manifests.last()) {
            (Some(repository), Some(tag), _) => repository.image(&Reference::Tag(tag.clone())),
            (Some(repository), None, Some(digest)) => repository.image(&Reference::Digest(*digest)),
            _ => String::new(),
        }
    }

    /// Returns the registry in its name.
    pub(super) fn domain(&self) -> Option<&Domain> {
        self.repository.as_ref().and_then(|repository| repository.domain.as_ref())
    }

    pub(super) fn add_blob(&mut self, digest: Digest) {
        if self.known.insert(digest) {
            self.blobs.push(digest);
        }
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.known.contains(digest)
    }

    pub(super) fn add_manifest(&mut self, digest: Digest) {
        if self.known.insert(digest) {
            self.manifests.push(digest);
        }
    }

    pub(super) fn mark(&self) -> ImageMark {
        let Self { manifests, blobs, listed, missing, .. } = self;
        ImageMark { manifests: manifests.len(), blobs: blobs.len(), listed: *listed, missing: *missing }
    }

    /// Removes what was added since.
    pub(super) fn reset(&mut self, to: ImageMark) {
        for digest in self.manifests.drain(to.manifests..).chain(self.blobs.drain(to.blobs..)) {
            self.known.remove(&digest);
        }
        (self.listed, self.missing) = (to.listed, to.missing);
    }
}

impl ArchivedImages {
    /// Adds the file that has the bytes of a digest.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if it is not there.
    pub(super) fn add_entry(&mut self, archive: &Archive, digest: Digest, name: String) -> Result<(), InvalidArchive> {
        let bytes = archive.entry(&name)?.bytes;
        self.contents.insert(digest, Content::Entry(ArchivedFile { name, bytes, is_hashed: false }));
        Ok(())
    }

    /// Adds a file by the digest that was computed from its bytes.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if it is not there.
    pub(super) fn add_hashed(&mut self, archive: &Archive, digest: Digest, name: String) -> Result<(), InvalidArchive> {
        let bytes = archive.entry(&name)?.bytes;
        self.contents.insert(digest, Content::Entry(ArchivedFile { name, bytes, is_hashed: true }));
        Ok(())
    }

    /// Adds a document that is not in the archive. Returns its digest.
    pub(super) fn add_made(&mut self, document: Vec<u8>) -> Digest {
        let digest = Digest::sha256(&document);
        self.contents.insert(digest, Content::Made(document));
        digest
    }

    /// Renames the only image to one of this registry.
    ///
    /// # Errors
    /// [`InvalidArchive::Several`] if there are others.
    pub(super) fn rename(&mut self, name: &RepositoryName, tag: &Tag) -> Result<(), InvalidArchive> {
        // Names of the same image.
        self.images.dedup_by(|one, other| one.manifests == other.manifests);
        let [image] = &mut self.images[..] else { return Err(InvalidArchive::Several(self.images.len())) };
        image.repository = Some(Repository { domain: None, name: name.clone() });
        image.tag = Some(tag.clone());
        Ok(())
    }

    /// Checks that there are images, that each has a name, and every byte its digest.
    ///
    /// # Errors
    /// [`InvalidArchive`] for the first one that has not.
    pub(super) fn verify(&self, io: &Blocking, archive: &Archive) -> Result<(), InvalidArchive> {
        if self.images.is_empty() {
            return Err(InvalidArchive::NoImages);
        }
        if self.images.iter().any(|image| image.repository.is_none()) {
            return Err(InvalidArchive::Unnamed);
        }
        for (digest, content) in &self.contents {
            if let Content::Entry(ArchivedFile { name, is_hashed: false, .. }) = content
                && archive.digest(io, name, digest.algorithm())? != *digest
            {
                return Err(InvalidArchive::Damaged(*digest));
            }
        }
        Ok(())
    }

    /// Returns the length of a digest's bytes.
    pub(super) fn size(&self, digest: &Digest) -> u64 {
        match self.contents.get(digest) {
            Some(Content::Entry(file)) => file.bytes,
            Some(Content::Made(document)) => document.len() as u64,
            None => 0,
        }
    }

    /// Copies the bytes of a digest.
    ///
    /// # Errors
    /// [`Failure`] if the archive cannot be read, or `to` fails.
    pub(super) fn copy(
        &self,
        io: &Blocking,
        digest: &Digest,
        archive: &Archive,
        to: &mut dyn Write,
    ) -> Result<(), Failure> {
        match self.contents.get(digest) {
            Some(Content::Entry(file)) => archive.copy(io, &file.name, to).map_err(Failure::failed),
            Some(Content::Made(document)) => to.write_all(document).map_err(Failure::failed),
            None => Ok(()),
        }
    }
}
