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
    /// A symbolic link leads nowhere: what lies behind it is not known.
    #[error("{}: this symbolic link leads nowhere: mount what it leads to, or remove it", .0.display())]
    Dangling(PathBuf),
    /// A link file names no digest, so that what it stood for is not known.
    #[error("{}: this link names no digest: it is damaged", .0.display())]
    NoDigest(PathBuf),
    /// A folder lies on a filesystem that was not there at the start.
    #[error("{}: this lies on another filesystem than at the start: restart the server", .0.display())]
    Moved(PathBuf),
    /// Anything else the operating system said.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A sync failed. The kernel forgets what it could not write, so that a second sync of the same file would succeed:
    /// these bytes are not on the disk until they are written anew.
    #[error("{}: a sync failed, and what was written is not on the disk: {source}", path.display())]
    Unsynced {
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
        match self {
            Self::Full(_) => true,
            Self::Unsynced { source, .. } => is_full(source),
            _ => false,
        }
    }

    /// Whether the disk failed to give or take bytes: it may do so the next time.
    #[must_use]
    pub fn is_io_failure(&self) -> bool {
        let failed = |source: &io::Error| source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        matches!(self, Self::Io { source, .. } if failed(source))
    }

    /// Whether a sync failed.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        matches!(self, Self::Unsynced { .. })
    }

    /// Names the path of a sync that failed.
    pub(super) fn unsynced(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unsynced { path, source }
    }

    /// Names the path of an I/O error: `.map_err(Error::at(path))`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| if is_full(&source) { Self::Full(path) } else { Self::Io { path, source } }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
