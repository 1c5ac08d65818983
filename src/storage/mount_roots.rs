//! The staging and quarantine folders of each mount. A rename cannot leave its mount, so files are staged on the mount
//! of their target.
//!
//! The data directory is the first mount root. Every folder from `docker` down to the prefix folders of blobs that lies
//! on another mount, as a mount point or behind a symbolic link, is one for the files below it.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{Error, atomic_fs, layout::Layout, look, staged};

/// The mount roots of one data directory: its highest folder on each mount. There is at least one.
#[derive(Debug)]
pub(super) struct MountRoots {
    roots: Vec<MountRoot>,
}

/// The highest folder on a mount.
#[derive(Debug)]
struct MountRoot {
    dir: PathBuf,
    mount: Mount,
}

/// A mount. The same filesystem mounted twice is two mounts: a rename between them fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// 0 if the kernel does not report mount IDs.
    id: u64,
}

impl MountRoots {
    /// Finds the mount roots, removes the staged files of a killed process, and checks that files can be renamed to
    /// each of them.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a folder cannot be read, or a rename from its staging folder fails.
    pub(super) fn open(layout: &Layout) -> Result<Self, Error> {
        let mut roots: Vec<MountRoot> = Vec::new();
        for dir in layout.parents_of_blobs()? {
            staged::sweep(&staging(&dir))?;
            let Some(mount) = mount(&dir)? else { continue };
            if roots.iter().all(|root| root.mount != mount) {
                roots.push(MountRoot { dir, mount });
            }
        }
        let roots = Self { roots };
        roots.dirs().try_for_each(try_rename)?;
        Ok(roots)
    }

    /// Returns the mount roots, the data directory first.
    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| root.dir.as_path())
    }

    /// Returns the staging folder for a file that is renamed to `target`.
    pub(super) fn staging(&self, target: &Path) -> Result<PathBuf, Error> {
        self.of(target).map(staging)
    }

    /// Returns the quarantine folder for the file at `target`.
    pub(super) fn quarantine(&self, target: &Path) -> Result<PathBuf, Error> {
        self.of(target).map(quarantine)
    }

    /// Returns all staging folders.
    pub(super) fn all_staging(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs().map(staging)
    }

    /// Returns all quarantine folders.
    pub(super) fn all_quarantine(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs().map(quarantine)
    }

    /// Returns whether both paths are on the same mount, judged by the nearest folders that exist.
    pub(super) fn are_on_one_mount(one: &Path, other: &Path) -> Result<bool, Error> {
        Ok(nearest(one)? == nearest(other)?)
    }

    fn of(&self, target: &Path) -> Result<&Path, Error> {
        if let [root] = self.roots.as_slice() {
            return Ok(&root.dir);
        }
        let mount = nearest(target)?;
        let root = self.roots.iter().find(|root| Some(root.mount) == mount);
        root.map(|root| root.dir.as_path()).ok_or_else(|| Error::Moved(target.to_owned()))
    }
}

/// Makes the staging folder and renames an empty file from there. A full disk counts as success.
fn try_rename(dir: &Path) -> Result<(), Error> {
    match atomic_fs::try_rename(&staging(dir), dir) {
        Err(error) if error.is_full() => Ok(()),
        tried => tried,
    }
}

fn staging(dir: &Path) -> PathBuf {
    dir.join("staging")
}

fn quarantine(dir: &Path) -> PathBuf {
    dir.join("quarantine")
}

/// Returns the mount of the nearest existing folder above `path`.
fn nearest(path: &Path) -> Result<Option<Mount>, Error> {
    for place in path.ancestors() {
        if let Some(mount) = mount(place)? {
            return Ok(Some(mount));
        }
    }
    Ok(None)
}

fn mount(path: &Path) -> Result<Option<Mount>, Error> {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = look::found(path, statx(CWD, path, AtFlags::empty(), flags).map_err(Into::into))?;
    Ok(found.map(|found| {
        let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        let id = if known { found.stx_mnt_id } else { 0 };
        Mount { device: (found.stx_dev_major, found.stx_dev_minor), id }
    }))
}
