//! The links of one repository: small files that say which digests belong to it and what its tags name.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Durability, Error, layout, publish::Names};
use crate::oci::{Algorithm, Digest, Tag};

/// A longer link names nothing.
const LONGEST: u64 = 1024;

/// A repository's folder. Makes nothing until a link is written.
#[derive(Debug)]
pub struct RepositoryLinks {
    pub(super) dir: PathBuf,
    pub(super) names: Arc<Names>,
}

impl RepositoryLinks {
    pub(super) fn new(dir: PathBuf, names: Arc<Names>) -> Self {
        Self { dir, names }
    }

    /// Whether the manifest `digest` belongs to this repository.
    #[must_use]
    pub fn has_revision(&self, digest: &Digest) -> bool {
        layout::link(&layout::revisions(&self.dir), digest).is_file()
    }

    /// Whether the blob `digest` belongs to this repository.
    #[must_use]
    pub fn has_layer(&self, digest: &Digest) -> bool {
        layout::link(&layout::layers(&self.dir), digest).is_file()
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
    #[must_use]
    pub fn exists(&self) -> bool {
        ["_manifests", "_layers", "_uploads", "_hosted"].iter().any(|part| self.dir.join(part).is_dir())
    }

    /// Removes everything of this repository; repositories below it stay.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_all(&self) -> Result<(), Error> {
        let parts = ["_manifests/tags", "_manifests", "_layers", "_uploads", "_hosted"];
        parts.iter().try_for_each(|part| self.names.remove(&self.dir.join(part), Durability::Unsynced))?;
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

    /// What a tag names; `None` when it is not there or its link is no digest.
    #[must_use]
    pub fn tag(&self, tag: &Tag) -> Option<Digest> {
        read(&layout::tag(&self.dir, tag).join("current/link"))
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

    /// Every tag and what it names, in no order.
    pub fn tags(&self) -> impl Iterator<Item = (Tag, Digest)> + '_ {
        let names = layout::subfolders(&layout::tags(&self.dir)).filter_map(|name| name.parse::<Tag>().ok());
        names.filter_map(|tag| Some((tag.clone(), self.tag(&tag)?)))
    }

    /// What tags named before, as far as that is on disk, in no order.
    pub fn former(&self) -> impl Iterator<Item = (Tag, Digest)> + '_ {
        let tags = layout::subfolders(&layout::tags(&self.dir)).filter_map(|name| name.parse::<Tag>().ok());
        tags.flat_map(|tag| {
            let now = self.tag(&tag);
            let named = digests(&layout::tag(&self.dir, &tag).join("index"));
            named.filter(move |digest| now != Some(*digest)).map(move |digest| (tag.clone(), digest))
        })
    }

    /// Forgets that a tag named `digest` before.
    ///
    /// # Errors
    /// When that is on disk and cannot be removed.
    pub fn remove_former(&self, tag: &Tag, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.remove_link(&layout::tag(&self.dir, tag).join("index"), digest, durability)
    }

    /// Every manifest of this repository, in no order.
    pub fn revisions(&self) -> impl Iterator<Item = Digest> + use<> {
        digests(&layout::revisions(&self.dir))
    }

    /// Every blob of this repository, in no order.
    pub fn layers(&self) -> impl Iterator<Item = Digest> + use<> {
        digests(&layout::layers(&self.dir))
    }
}

/// What a link file with this content names; `None` where that is no digest.
#[must_use]
pub fn named_by(content: &[u8]) -> Option<Digest> {
    str::from_utf8(content).ok()?.trim().parse().ok()
}

fn read(link: &Path) -> Option<Digest> {
    let mut content = Vec::new();
    File::open(link).ok()?.take(LONGEST).read_to_end(&mut content).ok()?;
    named_by(&content)
}

/// The digests that have a link below `home`. A folder without one is a link on its way out.
fn digests(home: &Path) -> impl Iterator<Item = Digest> + use<> {
    let home = home.to_owned();
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().flat_map(move |algorithm| {
        let dir = home.join(algorithm.as_str());
        let found = layout::subfolders(&dir).filter(move |hex| dir.join(hex).join("link").is_file());
        found.filter_map(move |hex| format!("{}:{hex}", algorithm.as_str()).parse().ok())
    })
}
