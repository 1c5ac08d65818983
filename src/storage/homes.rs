//! Where files are staged, and where damaged ones are set aside: on the filesystem of the folder that they are renamed into.
//!
//! The root is the first home. Every folder from `docker` down to the shelves that lies on another mount, as a mount point or
//! behind a symbolic link, is a home for what is published below it: a rename never leaves its mount.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{Error, atomic_fs, layout::Layout, look, staged};

/// The folders of one data directory that have files of other mounts below them. There is always one.
#[derive(Debug)]
pub(super) struct Homes {
    homes: Vec<Home>,
}

/// The highest folder of a mount.
#[derive(Debug)]
struct Home {
    dir: PathBuf,
    mount: Mount,
}

/// A mount: what is mounted twice is two, for a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// Nothing where the kernel does not tell.
    id: u64,
}

impl Homes {
    /// Looks where everything lies, sweeps what a killed process left in staging, and tries whether files can be published.
    ///
    /// # Errors
    /// When something cannot be looked at, or files cannot be renamed from where they are staged.
    pub(super) fn open(layout: &Layout) -> Result<Self, Error> {
        let mut homes: Vec<Home> = Vec::new();
        for dir in layout.parents_of_blobs()? {
            staged::sweep(&staging(&dir))?;
            let Some(mount) = mount(&dir)? else { continue };
            if homes.iter().all(|home| home.mount != mount) {
                homes.push(Home { dir, mount });
            }
        }
        let homes = Self { homes };
        homes.dirs().try_for_each(try_out)?;
        Ok(homes)
    }

    /// The folders themselves, the root first.
    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.homes.iter().map(|home| home.dir.as_path())
    }

    /// Where to stage what is renamed to `target`.
    pub(super) fn staging(&self, target: &Path) -> Result<PathBuf, Error> {
        self.of(target).map(staging)
    }

    /// Where to set aside what lies at `target`.
    pub(super) fn quarantine(&self, target: &Path) -> Result<PathBuf, Error> {
        self.of(target).map(quarantine)
    }

    /// All folders of staged files.
    pub(super) fn all_staging(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs().map(staging)
    }

    /// All folders of what is set aside.
    pub(super) fn all_quarantine(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs().map(quarantine)
    }

    /// Whether a rename from one path to the other stays on a mount, as far as the folders are there.
    pub(super) fn are_together(one: &Path, other: &Path) -> Result<bool, Error> {
        Ok(nearest(one)? == nearest(other)?)
    }

    fn of(&self, target: &Path) -> Result<&Path, Error> {
        if let [home] = self.homes.as_slice() {
            return Ok(&home.dir);
        }
        let mount = nearest(target)?;
        let home = self.homes.iter().find(|home| Some(home.mount) == mount);
        home.map(|home| home.dir.as_path()).ok_or_else(|| Error::Moved(target.to_owned()))
    }
}

/// Makes the folder of staged files, and publishes a file from there that means nothing. A full disk is no failure.
fn try_out(dir: &Path) -> Result<(), Error> {
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

/// The mount of the folder that `path` lies in, or would.
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
        let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        let id = if told { found.stx_mnt_id } else { 0 };
        Mount { device: (found.stx_dev_major, found.stx_dev_minor), id }
    }))
}
