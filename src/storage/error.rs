//! What can go wrong on disk.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure of this room, naming the path it happened at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filesystem or a disk quota of the system's is full.
    #[error("no space left on device at {}", .0.display())]
    Full(PathBuf),
    /// Anything else the operating system said.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    /// Whether there was no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Names the path of an I/O error: `.map_err(Error::at(path))`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Io { path, source },
        }
    }
}
