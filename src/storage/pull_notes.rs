//! The notes of the last pulls of tags and manifests: an empty file `pulled`, whose time of modification is the time of
//! the pull. It lies beside the manifest's link, or in the tag's folder.
//!
//! An empty file takes no block, and a crash cannot leave half a note. `registry:2` reads only files named `link`
//! there, and removes the whole folder of a tag. Who copies a volume without its times makes every pull look recent.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Durability, Error, RepositoryLinks, layout, look};
use crate::oci::Reference;

impl RepositoryLinks<'_> {
    /// Notes durably that a tag or a manifest was pulled at a time. Does nothing if it is not there.
    pub(super) fn note_pull(&self, pulled: &Reference, at: SystemTime) -> Result<(), Error> {
        let link = match pulled {
            Reference::Tag(tag) => self.current(tag),
            Reference::Digest(digest) => layout::link(&layout::revisions(&self.dir), digest),
        };
        if look::is_there(&link)? { self.names.touch(&self.pull_note(pulled), at) } else { Ok(()) }
    }

    /// Returns the last pull that was noted for a tag or a manifest; `None` if there is no note.
    pub(super) fn noted_pull(&self, pulled: &Reference) -> Result<Option<SystemTime>, Error> {
        let path = self.pull_note(pulled);
        look::metadata(&path)?.map(|found| found.modified().map_err(Error::at(&path))).transpose()
    }

    /// Removes the note beside a link.
    pub(super) fn remove_pull_note(&self, link: &Path) -> Result<(), Error> {
        self.names.remove(&beside(link), Durability::Unsynced)
    }

    fn pull_note(&self, pulled: &Reference) -> PathBuf {
        match pulled {
            Reference::Tag(tag) => layout::tag(&self.dir, tag).join("pulled"),
            Reference::Digest(digest) => beside(&layout::link(&layout::revisions(&self.dir), digest)),
        }
    }
}

fn beside(link: &Path) -> PathBuf {
    link.with_file_name("pulled")
}
