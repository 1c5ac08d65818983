//! The links of one repository: small files that say which digests belong to it and what its tags name.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Durability, Error, atomic_fs::Directory, layout, look};
use crate::oci::{Algorithm, Digest, Tag};

/// A longer link names nothing.
const LONGEST: u64 = 1024;

/// A repository's folder. Makes nothing until a link is written.
#[derive(Debug)]
pub struct RepositoryLinks {
    pub(super) dir: PathBuf,
    pub(super) names: Arc<Directory>,
}

impl RepositoryLinks {
    pub(super) fn new(dir: PathBuf, names: Arc<Directory>) -> Self {
        Self { dir, names }
    }

    /// Whether the manifest `digest` belongs to this repository.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn has_revision(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&layout::link(&layout::revisions(&self.dir), digest))
    }

    /// Whether the blob `digest` belongs to this repository.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn has_layer(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&layout::link(&layout::layers(&self.dir), digest))
    }

    /// Whether `digest` belongs to this repository, as a manifest or as a blob.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.has_layer(digest)? || self.has_revision(digest)?)
    }

    /// Says that the manifest `digest`, whose bytes are published, belongs to this repository.
    ///
    /// # Errors
    /// When the link cannot be written.
    pub fn add_revision(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.names.link(&layout::link(&layout::revisions(&self.dir), digest), digest, durability)
    }

    /// Says that the blob `digest`, whose bytes are published, belongs to this repository.
    ///
    /// # Errors
    /// When the link cannot be written.
    pub fn add_layer(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.names.link(&layout::link(&layout::layers(&self.dir), digest), digest, durability)
    }

    /// Whether anything of this repository is here: it has been pushed to, or pulled through.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn exists(&self) -> Result<bool, Error> {
        for region in ["_manifests", "_layers", "_uploads", "_hosted"] {
            if look::is_folder(&self.dir.join(region))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes everything of this repository; repositories below it stay.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_all(&self) -> Result<(), Error> {
        let regions = ["_manifests/tags", "_manifests", "_layers", "_uploads", "_hosted"];
        regions.iter().try_for_each(|region| self.names.remove(&self.dir.join(region), Durability::Unsynced))?;
        self.names.remove_empty(&self.dir);
        Ok(())
    }

    /// Says that the manifest `digest` no longer belongs to this repository.
    ///
    /// # Errors
    /// When the link is there and cannot be removed.
    pub fn remove_revision(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::revisions(&self.dir), digest, durability)
    }

    /// Says that the blob `digest` no longer belongs to this repository.
    ///
    /// # Errors
    /// When the link is there and cannot be removed.
    pub fn remove_layer(&self, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::layers(&self.dir), digest, durability)
    }

    /// Says that `digest`, whatever it was, no longer belongs to this repository, a mirrored one: nothing was promised to
    /// anybody.
    ///
    /// # Errors
    /// When a link is there and cannot be removed.
    pub fn forget(&self, digest: &Digest) -> Result<(), Error> {
        let homes = [layout::layers(&self.dir), layout::revisions(&self.dir)];
        homes.iter().try_for_each(|home| self.remove_link(home, digest, Durability::Unsynced))
    }

    /// A link goes with the folder of its own that it lies in.
    fn remove_link(&self, home: &Path, digest: &Digest, durability: Durability) -> Result<(), Error> {
        let link = layout::link(home, digest);
        self.names.remove(&link, durability)?;
        self.names.remove_emptied(&link);
        Ok(())
    }

    /// What a tag names; `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::NoDigest`], when its link is damaged; or when it cannot be read.
    pub fn tag(&self, tag: &Tag) -> Result<Option<Digest>, Error> {
        read(&self.current(tag))
    }

    /// Whether a tag's link names `digest`. A damaged one does not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self, tag: &Tag, digest: &Digest) -> Result<bool, Error> {
        match self.tag(tag) {
            Err(Error::NoDigest(_)) => Ok(false),
            named => Ok(named?.as_ref() == Some(digest)),
        }
    }

    fn current(&self, tag: &Tag) -> PathBuf {
        layout::tag(&self.dir, tag).join("current/link")
    }

    /// Points a tag at a manifest that is linked already.
    ///
    /// # Errors
    /// When a link cannot be written.
    pub fn set_tag(&self, tag: &Tag, digest: &Digest, durability: Durability) -> Result<(), Error> {
        let dir = layout::tag(&self.dir, tag);
        self.names.link(&layout::link(&dir.join("index"), digest), digest, durability)?;
        self.names.link(&dir.join("current/link"), digest, durability)
    }

    /// Forgets a tag.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_tag(&self, tag: &Tag) -> Result<(), Error> {
        self.names.remove(&layout::tag(&self.dir, tag), Durability::Synced)
    }

    /// Every tag and what it names, in no order. One whose link is damaged names something that is not known: `None`.
    pub fn tags(&self) -> impl Iterator<Item = Result<(Tag, Option<Digest>), Error>> + '_ {
        self.tag_names().filter_map(|tag| tag.and_then(|tag| self.named(tag)).transpose())
    }

    fn tag_names(&self) -> impl Iterator<Item = Result<Tag, Error>> + use<> {
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

    /// The tags that name `digest`, in no order.
    ///
    /// # Errors
    /// When a tag cannot be read.
    pub fn tags_of(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let named = self.tags().filter(|tag| tag.as_ref().map_or(true, |(_, named)| named.as_ref() == Some(digest)));
        named.map(|tag| tag.map(|(tag, _)| tag)).collect()
    }

    /// What tags named before, as far as that is on disk, in no order. What a tag named whose link is damaged, it may still
    /// name.
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
    /// When that is on disk and cannot be removed.
    pub fn remove_previous_tag(&self, tag: &Tag, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::tag(&self.dir, tag).join("index"), digest, durability)
    }

    /// Every manifest of this repository, in no order.
    pub fn revisions(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        digests(&layout::revisions(&self.dir))
    }

    /// Everything that belongs to this repository, in no order.
    pub fn all(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        self.layers().chain(self.revisions())
    }

    /// Every blob of this repository, in no order.
    pub fn layers(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        digests(&layout::layers(&self.dir))
    }
}

/// What a link file with this content names; `None` where that is no digest.
#[must_use]
pub fn named_by(content: &[u8]) -> Option<Digest> {
    str::from_utf8(content).ok()?.trim().parse().ok()
}

fn read(link: &Path) -> Result<Option<Digest>, Error> {
    let Some(file) = look::open(link)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).map_err(Error::at(link))?;
    named_by(&content).map(Some).ok_or_else(|| Error::NoDigest(link.to_owned()))
}

/// The digests that have a link below `home`. A folder without one is a link on its way out.
fn digests(home: &Path) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
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
