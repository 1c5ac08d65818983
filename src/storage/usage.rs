//! Measured sizes: the disk usage by class, the filesystem's free space, and the size of the index, the quarantine and
//! the staging folders.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    Error,
    layout::{LAST_USES, NOTIFICATIONS, PINS, PULL_RECORD},
    look,
};
use crate::lanes::Blocking;

/// A sum of bytes and of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    bytes: i64,
    objects: i64,
}

impl Sum {
    /// Returns the bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.max(0).unsigned_abs()
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.max(0).unsigned_abs()
    }

    pub(super) fn delta(&self) -> Delta {
        Delta { bytes: self.bytes, objects: self.objects }
    }

    pub(super) fn add(&mut self, delta: Delta) {
        self.bytes += delta.bytes;
        self.objects += delta.objects;
    }
}

/// A change of a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Bytes added, or removed if negative.
    pub bytes: i64,
    /// Objects added, or removed if negative.
    pub objects: i64,
}

/// The disk usage: allocated blocks, counted once per inode, as `du` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Blobs that were pushed to this registry.
    pub hosted: Sum,
    /// Blobs that came from upstreams.
    pub mirrored: Sum,
    /// Folders and links.
    pub links: u64,
    /// Files that are being written: fills and upload sessions.
    pub staged: u64,
    /// Damaged bytes in the quarantine.
    pub quarantined: Sum,
    /// The index, and the last uses beside it.
    pub index: u64,
    /// Everything else below the root.
    pub other: u64,
    /// Reserved for files that are being written, but not yet allocated.
    pub promised: u64,
    /// The bound on all of it, if there is one.
    pub quota: Option<u64>,
    /// The bound on mirrored content, if there is no quota.
    pub share: u64,
    /// The bytes to leave free on the filesystem.
    pub headroom: u64,
    /// Set once everything on disk is counted. After a kill that takes a while.
    pub known: bool,
    /// The filesystem of the volume.
    pub filesystem: Filesystem,
}

impl Usage {
    /// Returns the sum of all, which is what `du` reports for the root.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hosted.bytes()
            + self.mirrored.bytes()
            + self.quarantined.bytes()
            + self.links
            + self.staged
            + self.index
            + self.other
    }
}

/// The size of a filesystem, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filesystem {
    /// The total size.
    pub size: u64,
    /// The bytes free for an unprivileged writer.
    pub free: u64,
}

impl Filesystem {
    /// Returns the filesystem of a path that exists, or of its nearest existing ancestor.
    #[must_use]
    pub fn that_holds(_io: &Blocking, path: &Path) -> Self {
        let there = path.ancestors().find(|above| fs::metadata(above).is_ok()).unwrap_or(Path::new("."));
        Self::of(there)
    }

    /// Returns the filesystem of a path. Assumes plenty of space if it cannot be queried: a full disk then shows at the
    /// write.
    pub(super) fn of(path: &Path) -> Self {
        rustix::fs::statvfs(path).map_or(Self { size: u64::MAX, free: u64::MAX }, |fs| Self {
            size: fs.f_blocks.saturating_mul(fs.f_frsize),
            free: fs.f_bavail.saturating_mul(fs.f_frsize),
        })
    }
}

/// The sizes that are measured, since no module charges them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampled {
    pub(super) index: u64,
    pub(super) quarantined: Sum,
    /// The staging folders themselves, and other files.
    pub(super) other: u64,
}

impl Sampled {
    pub(super) fn total(&self) -> u64 {
        self.index + self.quarantined.bytes() + self.other
    }
}

/// The folders and files at a mount root that are measured; everything else is charged.
pub(super) const SAMPLED: [&str; 7] = ["index", "quarantine", "staging", LAST_USES, NOTIFICATIONS, PINS, PULL_RECORD];

pub(super) fn sample(root: &Path, mount_roots: &[PathBuf]) -> Result<Sampled, Error> {
    let (mut quarantined, mut other) = (Sum::default(), 0);
    for mount_root in mount_roots {
        let folder = mount_root.join("quarantine");
        for entry in look::entries(&folder) {
            let bytes = i64::try_from(allocated(&entry?.path())).unwrap_or(i64::MAX);
            quarantined.add(Delta { bytes, objects: 1 });
        }
        // Staged files are charged as they grow.
        other += allocated(&mount_root.join("staging")) + allocated(&folder);
    }
    other += tree(&root.join(NOTIFICATIONS))?;
    let records: u64 = [LAST_USES, PINS, PULL_RECORD].iter().map(|name| allocated(&root.join(name))).sum();
    Ok(Sampled { index: tree(&root.join("index"))? + records, quarantined, other })
}

/// Returns the bytes that a file or a folder itself occupies; 0 if that cannot be determined: a scan corrects it.
pub(super) fn allocated(path: &Path) -> u64 {
    occupied(look::symlink_metadata(path))
}

/// As [`allocated`], for a folder that may be behind a symbolic link.
pub(super) fn allocated_folder(path: &Path) -> u64 {
    occupied(look::metadata(path))
}

fn occupied(looked: Result<Option<fs::Metadata>, Error>) -> u64 {
    match looked {
        Ok(found) => found.map_or(0, |found| found.blocks() * 512),
        Err(error) => {
            tracing::warn!(%error, "disk usage is inexact until the next start");
            0
        }
    }
}

/// Returns the bytes that a folder occupies with all its content, following symbolic links to folders.
///
/// # Errors
/// Any variant of [`Error`] if something in it cannot be read.
pub(super) fn tree(path: &Path) -> Result<u64, Error> {
    let mut sum = allocated(path);
    let Some(found) = look::symlink_metadata(path)? else { return Ok(0) };
    if found.is_symlink() {
        if !look::is_folder(path)? || look::leads_back(path)? {
            return Ok(sum);
        }
        sum += allocated_folder(path);
    }
    for entry in look::entries(path) {
        let entry = entry?;
        let is_file = look::kind(&entry)?.is_none_or(|kind| kind.is_file());
        sum += if is_file { allocated(&entry.path()) } else { tree(&entry.path())? };
    }
    Ok(sum)
}
