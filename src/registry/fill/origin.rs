//! Where a blob's bytes come from, and by what right.

use super::{progress::Shown, upstream_health::UpstreamHealth};
use crate::{
    index::Class,
    oci::{Digest, Repository},
    registry::Error,
};

/// Where a fill's bytes come from.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Origin {
    pub(in crate::registry) mirror: UpstreamHealth,
    pub(in crate::registry) repository: Repository,
    /// This repository's right to the bytes, if it was shown; otherwise the upstream's answer to the fill shows it.
    pub(in crate::registry) right: Option<Right>,
    /// The blob's size in bytes, as the repository's manifest or its upstream has it.
    pub(in crate::registry) size: Option<u64>,
}

impl Origin {
    /// Takes what shows the repository's right to the bytes: they have to be as many as its upstream said.
    ///
    /// # Errors
    /// [`Error::BadGateway`], where it shows none.
    pub(in crate::registry) fn shown(&mut self, digest: &Digest, shown: Shown) -> Result<(), Error> {
        match shown {
            Shown::Before => {}
            Shown::Size(size) => {
                self.agrees(digest, size)?;
                self.size = Some(size);
            }
            Shown::Nothing => {
                let repository = &self.repository;
                return Err(Error::BadGateway(format!(
                    "the answer of {repository}'s upstream does not show that it has {digest}"
                )));
            }
        }
        self.right = Some(Right::Own);
        Ok(())
    }

    /// Holds the size of what comes against that.
    ///
    /// # Errors
    /// [`Error::BadGateway`].
    pub(in crate::registry) fn agrees(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        match self.size {
            Some(named) if named != size => Err(Error::BadGateway(format!(
                "{digest} has {size} bytes, where the manifest or the upstream of {} says {named}",
                self.repository
            ))),
            _ => Ok(()),
        }
    }
}

/// What shows a repository's right to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) enum Right {
    /// A link of its own, or the word of its own upstream: a right to the bytes, whoever brought them.
    Own,
    /// A manifest of its own names the blob. Anybody can write a manifest, upstream: it is a right to what came from an
    /// upstream, and none to what is here only because somebody pushed it.
    Named,
}

impl Right {
    /// Whether it is a right to bytes of this class.
    pub(in crate::registry) fn covers(self, class: Class) -> bool {
        self == Self::Own || class.mirrored
    }
}
