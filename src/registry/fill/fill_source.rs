//! The source of a fill's bytes, and the authorization of its repository.

use super::{progress::Shown, upstream::Upstream};
use crate::{
    index::Origins,
    oci::{Digest, Repository},
    registry::{Error, UnusableAnswer},
};

/// The source of a fill's bytes.
#[derive(Clone, Debug)]
pub(in crate::registry) struct FillSource {
    pub(in crate::registry) upstream: Upstream,
    pub(in crate::registry) repository: Repository,
    /// The repository's right to the blob, if it is known; otherwise the upstream's answer to the fill decides.
    pub(in crate::registry) right: Option<Right>,
    /// The blob's size in bytes, from the repository's manifest or its upstream.
    pub(in crate::registry) size: Option<u64>,
}

impl FillSource {
    /// Authorizes the repository by the upstream's answer, whose size must match.
    ///
    /// # Errors
    /// [`Error::UnusableAnswer`] if the answer does not show that the repository has the blob, or the size differs.
    pub(in crate::registry) fn authorize(&mut self, digest: &Digest, shown: Shown) -> Result<(), Error> {
        match shown {
            Shown::Before => {}
            Shown::Size(size) => {
                self.agrees(digest, size)?;
                self.size = Some(size);
            }
            Shown::Nothing => {
                let (repository, digest) = (Box::new(self.repository.clone()), Box::new(*digest));
                return Err(UnusableAnswer::Unconfirmed { repository, digest }.into());
            }
        }
        self.right = Some(Right::Own);
        Ok(())
    }

    /// Compares the size of the received blob with the expected one.
    ///
    /// # Errors
    /// [`Error::UnusableAnswer`] if they differ.
    pub(in crate::registry) fn agrees(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        match self.size {
            Some(expected) if expected != size => {
                let (repository, digest) = (Box::new(self.repository.clone()), Box::new(*digest));
                Err(UnusableAnswer::UnexpectedSize { repository, digest, size, expected }.into())
            }
            _ => Ok(()),
        }
    }
}

/// The reason that a repository is authorized for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) enum Right {
    /// The repository links the blob, or its upstream confirmed it: a right to the bytes, even to pushed ones.
    Own,
    /// A manifest of the repository names the blob. Anyone can push such a manifest to the upstream, so this is a right
    /// to mirrored bytes only, not to bytes that were pushed here.
    Named,
}

impl Right {
    /// Returns whether the right covers bytes of these origins.
    pub(in crate::registry) fn covers(self, origins: Origins) -> bool {
        self == Self::Own || origins.mirrored
    }
}
