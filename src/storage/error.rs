//! The errors of storage.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure of storage, with the path at which it happened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filesystem is full, or a disk quota of the operating system is reached.
    #[error("no space left on device at {}", .0.display())]
    Full(PathBuf),
    /// A symbolic link has no target, so the state of the path is not known.
    #[error("{}: this symbolic link leads nowhere: mount what it leads to, or remove it", .0.display())]
    Dangling(PathBuf),
    /// A link file contains no digest.
    #[error("{}: this link names no digest: it is damaged", .0.display())]
    NoDigest(PathBuf),
    /// A folder lies on a filesystem that was mounted after the start.
    #[error("{}: this lies on another filesystem than at the start: restart the server", .0.display())]
    Moved(PathBuf),
    /// Any other error of the operating system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the failed call.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A sync failed. The kernel drops the dirty pages, so a second sync of the same file would succeed: the bytes are
    /// not on disk until they are written again.
    #[error("{}: a sync failed, and what was written is not on the disk: {source}", path.display())]
    Unsynced {
        /// The path of the failed sync.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Error {
    /// Returns whether the disk was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Unsynced { source, .. } => is_full(source),
            _ => false,
        }
    }

    /// Returns whether this process lacks a right.
    #[must_use]
    pub fn is_permission_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Returns whether the device failed to read or write, which may succeed at the next attempt.
    #[must_use]
    pub fn is_io_failure(&self) -> bool {
        let failed = |source: &io::Error| source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        matches!(self, Self::Io { source, .. } if failed(source))
    }

    /// Returns whether a sync failed.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        matches!(self, Self::Unsynced { .. })
    }

    /// Adds the path to the error of a sync.
    pub(super) fn unsynced(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Unsynced { path, source }
    }

    /// Adds the path to an I/O error: `.map_err(Error::at(path))`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| if is_full(&source) { Self::Full(path) } else { Self::Io { path, source } }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
