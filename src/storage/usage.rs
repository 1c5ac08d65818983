//! Figures: what the disk holds by class, what the filesystem has, and what others wrote below the root.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Error, look};

/// Bytes and objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    bytes: i64,
    objects: i64,
}

impl Sum {
    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.max(0).unsigned_abs()
    }

    /// How many there are.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.max(0).unsigned_abs()
    }

    pub(super) fn signed(&self) -> (i64, i64) {
        (self.bytes, self.objects)
    }

    pub(super) fn add(&mut self, (bytes, objects): (i64, i64)) {
        self.bytes += bytes;
        self.objects += objects;
    }
}

/// What is used, as it occupies the disk: allocated blocks, once per inode, as `du` counts.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Blobs that were pushed here.
    pub hosted: Sum,
    /// Blobs that came from upstreams.
    pub mirrored: Sum,
    /// Folders and links.
    pub links: u64,
    /// Files on their way in: fills and upload sessions.
    pub staged: u64,
    /// Damaged bytes, set aside.
    pub quarantined: Sum,
    /// The index.
    pub index: u64,
    /// What lies below the root otherwise.
    pub other: u64,
    /// Promised to files on their way in, and not on disk yet.
    pub promised: u64,
    /// What all that may come to, where there is a bound.
    pub quota: Option<u64>,
    /// What is mirrored may come to this, where there is none.
    pub share: u64,
    /// What stays free on the filesystem.
    pub headroom: u64,
    /// Whether all that is on disk is counted; it is not, for a while after a process was killed.
    pub known: bool,
    /// What it lies on.
    pub filesystem: Filesystem,
}

impl Usage {
    /// All of it: what `du` says of the root.
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

/// A filesystem, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Filesystem {
    /// All of it.
    pub size: u64,
    /// Free for an unprivileged writer.
    pub free: u64,
}

impl Filesystem {
    /// The one that a path lies on, or will lie on once it is made.
    #[must_use]
    pub fn that_holds(path: &Path) -> Self {
        let there = path.ancestors().find(|above| fs::metadata(above).is_ok()).unwrap_or(Path::new("."));
        Self::of(there)
    }

    /// Plenty of both when it does not say: the write will tell.
    pub(super) fn of(path: &Path) -> Self {
        rustix::fs::statvfs(path).map_or(Self { size: u64::MAX, free: u64::MAX }, |fs| Self {
            size: fs.f_blocks.saturating_mul(fs.f_frsize),
            free: fs.f_bavail.saturating_mul(fs.f_frsize),
        })
    }
}

/// What is not counted as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampled {
    pub(super) index: u64,
    pub(super) quarantined: Sum,
    /// The staging folder itself, and the like.
    pub(super) other: u64,
}

impl Sampled {
    pub(super) fn total(&self) -> u64 {
        self.index + self.quarantined.bytes() + self.other
    }
}

/// What stands at the root and is sampled; everything else is counted.
pub(super) const SAMPLED: [&str; 3] = ["index", "quarantine", "staging"];

pub(super) fn sample(root: &Path, homes: &[PathBuf]) -> Result<Sampled, Error> {
    let (mut quarantined, mut other) = (Sum::default(), 0);
    for home in homes {
        let folder = home.join("quarantine");
        for entry in look::entries(&folder) {
            quarantined.add((i64::try_from(allocated(&entry?.path())).unwrap_or(i64::MAX), 1));
        }
        // Staged files are counted as they grow.
        other += allocated(&home.join("staging")) + allocated(&folder);
    }
    Ok(Sampled { index: tree(&root.join("index"))?, quarantined, other })
}

/// What a file or a folder occupies by itself. Nothing where that is not known: a survey puts it right.
pub(super) fn allocated(path: &Path) -> u64 {
    occupied(look::symlink_metadata(path))
}

/// As [`allocated`], of a folder that a symbolic link may lead to.
pub(super) fn allocated_folder(path: &Path) -> u64 {
    occupied(look::metadata(path))
}

fn occupied(looked: Result<Option<fs::Metadata>, Error>) -> u64 {
    match looked {
        Ok(found) => found.map_or(0, |found| found.blocks() * 512),
        Err(error) => {
            tracing::warn!("what is used is not known for sure until the next start: {error}");
            0
        }
    }
}

/// What a folder occupies with all that is in it, and what symbolic links to folders lead to.
///
/// # Errors
/// When something in it cannot be read.
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
