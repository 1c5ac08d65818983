//! The links of one repository: small files that record its digests and the targets of its tags.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Durability, Error, LinkKind, atomic_fs::Directory, layout, look};
use crate::{
    lanes::Blocking,
    oci::{Algorithm, Digest, Tag},
};

/// A longer link file is damaged.
const MAX_LINK_BYTES: u64 = 1024;

/// The folder of a repository. It is made with the first link.
#[derive(Debug)]
pub struct RepositoryLinks<'a> {
    /// The folder of all repositories of this upstream, or of all hosted ones.
    home: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) names: &'a Directory,
    _io: &'a Blocking,
}

impl<'a> RepositoryLinks<'a> {
    pub(super) fn new(home: PathBuf, dir: PathBuf, names: &'a Directory, io: &'a Blocking) -> Self {
        Self { home, dir, names, _io: io }
    }

    /// Returns whether the manifest `digest` belongs to this repository.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn has_revision(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&layout::link(&layout::revisions(&self.dir), digest))
    }

    /// Returns whether the blob `digest` belongs to this repository.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn has_layer(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&layout::link(&layout::layers(&self.dir), digest))
    }

    /// Returns whether `digest` belongs to this repository, as a manifest or as a blob.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.has_layer(digest)? || self.has_revision(digest)?)
    }

    /// Links the manifest `digest`, whose bytes are published, to this repository.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the link cannot be written.
    pub fn add_revision(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.names.link(&layout::link(&layout::revisions(&self.dir), digest), digest, durability)
    }

    /// Links the blob `digest`, whose bytes are published, to this repository.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the link cannot be written.
    pub fn add_layer(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.names.link(&layout::link(&layout::layers(&self.dir), digest), digest, durability)
    }

    /// Makes the folder of a layer's link ahead of the link, so that a sync which comes in between covers its name,
    /// too.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be made.
    pub fn make_layer_folder(&self, digest: &Digest) -> Result<(), Error> {
        self.names.make_parent(&layout::link(&layout::layers(&self.dir), digest), Durability::Unsynced)
    }

    /// Removes the folder of a layer's link, if there is no link in it.
    pub fn remove_empty_layer_folder(&self, digest: &Digest) {
        self.names.remove_emptied(&layout::link(&layout::layers(&self.dir), digest));
    }

    /// Returns whether this repository has any content: after a push, or a pull through the mirror.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn exists(&self) -> Result<bool, Error> {
        for region in ["_manifests", "_layers", "_uploads", "_hosted"] {
            if look::is_folder(&self.dir.join(region))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes everything of this repository, but not the repositories below it.
    ///
    /// # Errors
    /// Any variant of [`Error`] if something cannot be removed.
    pub fn remove_all(&self) -> Result<(), Error> {
        let regions = ["_manifests/tags", "_manifests", "_layers", "_uploads", "_hosted"];
        regions.iter().try_for_each(|region| self.names.remove(&self.dir.join(region), Durability::Unsynced))?;
        self.names.remove_empty(&self.dir);
        Ok(())
    }

    /// Removes the link of the manifest `digest`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the link exists and cannot be removed.
    pub fn remove_revision(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::revisions(&self.dir), digest, durability)
    }

    /// Removes the link of the blob `digest`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the link exists and cannot be removed.
    pub fn remove_layer(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::layers(&self.dir), digest, durability)
    }

    /// Removes all links of `digest` from this mirrored repository, without syncs: no client was promised anything
    /// about it. Removes the folders that are empty then.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a link exists and cannot be removed.
    pub fn forget(&self, digest: &Digest) -> Result<(), Error> {
        for home in [layout::layers(&self.dir), layout::revisions(&self.dir)] {
            let link = layout::link(&home, digest);
            self.names.remove(&link, Durability::Unsynced)?;
            if self.names.remove_emptied(&link) && self.names.remove_empty(&home.join(digest.algorithm().as_str())) {
                self.names.remove_empty(&layout::tags(&self.dir));
                self.remove_while_empty(&home);
            }
        }
        Ok(())
    }

    /// Removes every folder of this repository that is empty, then the repository's own folder and those above it, if
    /// nothing is left in them. A link that is made at the same time makes its folders again.
    pub fn remove_empty_folders(&self) {
        for home in [layout::layers(&self.dir), layout::revisions(&self.dir)] {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                self.names.remove_empty(&home.join(algorithm.as_str()));
            }
            self.names.remove_empty(&home);
        }
        for dir in [layout::tags(&self.dir), self.dir.join("_manifests"), layout::uploads(&self.dir)] {
            self.names.remove_empty(&dir);
        }
        self.remove_while_empty(&self.dir);
    }

    /// Removes a folder and those above it, up to the first that is not empty.
    fn remove_while_empty(&self, dir: &Path) {
        let above = dir.ancestors().take_while(|dir| *dir != self.home);
        let _ = above.map(|dir| self.names.remove_empty(dir)).take_while(|removed| *removed).count();
    }

    /// Returns the folder of the links of one kind.
    pub(super) fn home_of(&self, kind: LinkKind<'_>) -> PathBuf {
        match kind {
            LinkKind::Layer => layout::layers(&self.dir),
            LinkKind::Revision => layout::revisions(&self.dir),
            LinkKind::History(tag) => layout::tag(&self.dir, tag).join("index"),
        }
    }

    /// Removes a link with the folder that it lies in, and the note of its last pull.
    pub(super) fn remove_link(&self, home: &Path, digest: &Digest, durability: Durability) -> Result<(), Error> {
        let link = layout::link(home, digest);
        self.names.remove(&link, durability)?;
        if *home == layout::revisions(&self.dir) {
            self.remove_pull_note(&link)?;
        }
        self.names.remove_emptied(&link);
        Ok(())
    }

    /// Returns the digest that a tag names; `None` if there is no such tag.
    ///
    /// # Errors
    /// [`Error::NoDigest`] if its link is damaged; another variant if it cannot be read.
    pub fn tag(&self, tag: &Tag) -> Result<Option<Digest>, Error> {
        read(&self.current(tag))
    }

    /// Returns whether a tag's link names `digest`; `false` if it is damaged.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be read.
    pub fn names(&self, tag: &Tag, digest: &Digest) -> Result<bool, Error> {
        match self.tag(tag) {
            Err(Error::NoDigest(_)) => Ok(false),
            named => Ok(named?.as_ref() == Some(digest)),
        }
    }

    pub(super) fn current(&self, tag: &Tag) -> PathBuf {
        layout::tag(&self.dir, tag).join("current/link")
    }

    /// Returns the time at which a tag was last set; `None` if there is no such tag.
    pub(super) fn tag_time(&self, tag: &Tag) -> Result<Option<SystemTime>, Error> {
        let path = self.current(tag);
        look::metadata(&path)?.map(|found| found.modified().map_err(Error::at(&path))).transpose()
    }

    /// Points a tag at a manifest that is linked already.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a link cannot be written.
    pub fn set_tag(&self, tag: &Tag, digest: &Digest, durability: Durability) -> Result<(), Error> {
        let dir = layout::tag(&self.dir, tag);
        self.names.link(&layout::link(&dir.join("index"), digest), digest, durability)?;
        self.names.link(&dir.join("current/link"), digest, durability)
    }

    /// Removes a tag.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    pub fn remove_tag(&self, tag: &Tag) -> Result<(), Error> {
        self.names.remove(&layout::tag(&self.dir, tag), Durability::Synced)
    }

    /// Returns every tag and its digest, in no order; the digest is `None` if the link is damaged.
    pub fn tags(&self) -> impl Iterator<Item = Result<(Tag, Option<Digest>), Error>> + '_ {
        self.tag_names().filter_map(|tag| tag.and_then(|tag| self.named(tag)).transpose())
    }

    /// As [`RepositoryLinks::tags`].
    pub(super) fn into_tags(self) -> impl Iterator<Item = Result<(Tag, Option<Digest>), Error>> + use<'a> {
        self.tag_names().filter_map(move |tag| tag.and_then(|tag| self.named(tag)).transpose())
    }

    fn tag_names(&self) -> impl Iterator<Item = Result<Tag, Error>> + use<'a> {
        look::folders(&layout::tags(&self.dir), |name| name.parse().ok())
    }

    fn named(&self, tag: Tag) -> Result<Option<(Tag, Option<Digest>)>, Error> {
        match self.tag(&tag) {
            Ok(None) => Ok(None),
            Ok(digest) => Ok(Some((tag, digest))),
            Err(error @ Error::NoDigest(_)) => {
                tracing::warn!("{error}");
                Ok(Some((tag, None)))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the tags that name `digest`, in no order.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a tag cannot be read.
    pub fn tags_of(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let named = self.tags().filter(|tag| tag.as_ref().map_or(true, |(_, named)| named.as_ref() == Some(digest)));
        named.map(|tag| tag.map(|(tag, _)| tag)).collect()
    }

    /// Returns the digests that tags named before, as far as they are on disk, in no order. They include the current
    /// one if the tag's link is damaged, since the tag may still name it.
    pub fn previous_tags(&self) -> impl Iterator<Item = Result<(Tag, Digest), Error>> + '_ {
        let previous_tags = |tag: &Tag| -> Result<Vec<(Tag, Digest)>, Error> {
            let now = match self.named(tag.clone())? {
                Some((_, None)) => return Ok(Vec::new()),
                named => named.and_then(|(_, now)| now),
            };
            let named = digests(&layout::tag(&self.dir, tag).join("index"));
            let before = named.filter(|named| named.as_ref().map_or(true, |named| now != Some(*named)));
            before.map(|named| named.map(|named| (tag.clone(), named))).collect()
        };
        self.tag_names().flat_map(move |tag| match tag.and_then(|tag| previous_tags(&tag)) {
            Ok(previous_tags) => previous_tags.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Forgets that a tag named `digest` before.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the entry exists and cannot be removed.
    pub fn remove_previous_tag(&self, tag: &Tag, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::tag(&self.dir, tag).join("index"), digest, durability)
    }

    /// Returns every manifest of this repository, in no order.
    pub fn revisions(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<'a> {
        digests(&layout::revisions(&self.dir))
    }

    /// Returns every digest of this repository, in no order.
    pub fn all(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<'a> {
        self.layers().chain(self.revisions())
    }

    /// Returns every blob of this repository, in no order.
    pub fn layers(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<'a> {
        digests(&layout::layers(&self.dir))
    }
}

/// Returns the digest in a link file; `None` if it contains none.
#[must_use]
pub fn named_by(content: &[u8]) -> Option<Digest> {
    str::from_utf8(content).ok()?.trim().parse().ok()
}

fn read(link: &Path) -> Result<Option<Digest>, Error> {
    let Some(file) = look::open(link)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(MAX_LINK_BYTES).read_to_end(&mut content).map_err(Error::at(link))?;
    named_by(&content).map(Some).ok_or_else(|| Error::NoDigest(link.to_owned()))
}

/// Returns the digests that have a link below `home`. A folder without a link is being removed, and is skipped.
pub(super) fn digests(home: &Path) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
    let home = home.to_owned();
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().flat_map(move |algorithm| {
        let (home, name) = (home.clone(), algorithm.as_str());
        let found = look::folders(&home.join(name), move |hex| format!("{name}:{hex}").parse().ok());
        found.filter_map(move |digest: Result<Digest, Error>| {
            let linked = digest.and_then(|digest| Ok(look::is_there(&layout::link(&home, &digest))?.then_some(digest)));
            linked.transpose()
        })
    })
}
