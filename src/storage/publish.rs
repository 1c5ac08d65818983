//! The one place where a name on disk comes to mean something: a file is written under a name of its own and renamed,
//! so that a crash leaves the old state or the new one.

#![expect(clippy::disallowed_methods, reason = "this is the helper the ban points to")]

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Error, layout};
use crate::oci::Digest;

/// What must have reached the disk when a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes, the name, and every folder made for it: what an acknowledgement stands on (law 3).
    Synced,
    /// Nothing: mirrored content can be fetched again, and its first use after a crash re-hashes it.
    Unsynced,
}

/// Gives `from` the name `to`, unless that name is taken: then the older file stays and `Ok(false)` is returned, so an
/// unsynced file can never replace a durable one.
pub(super) fn rename(from: &Path, to: &Path, durability: Durability) -> Result<bool, Error> {
    make_parent(to, durability)?;
    let renamed = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_and_unlink(from, to)?,
        Err(error) => return Err(Error::at(to)(error.into())),
    };
    if durability == Durability::Synced {
        sync_parent(to)?;
    }
    Ok(renamed)
}

/// The same on a filesystem that has no rename without replacing, such as NFS: a second name is never given twice either.
fn link_and_unlink(from: &Path, to: &Path) -> Result<bool, Error> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(|()| true).map_err(Error::at(from)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::at(to)(error)),
    }
}

/// Writes a link file, replacing what it said before.
pub(super) fn link(path: &Path, digest: &Digest, durability: Durability) -> Result<(), Error> {
    make_parent(path, durability)?;
    let temporary = temporary_beside(path);
    let written = write(&temporary, digest, durability).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(Error::at(path)(error));
    }
    if durability == Durability::Synced { sync_parent(path) } else { Ok(()) }
}

/// Moves a file aside, replacing what lies there.
pub(super) fn set_aside(from: &Path, to: &Path) -> Result<(), Error> {
    make_parent(to, Durability::Synced)?;
    fs::rename(from, to).map_err(Error::at(from))?;
    sync_parent(to)?;
    sync_parent(from)
}

/// Removes a file, or a folder with all that is in it; one that is not there is no failure.
pub(super) fn remove(path: &Path, durability: Durability) -> Result<(), Error> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => remove_folder(path, fs::remove_dir_all),
        removed => removed,
    };
    match removed {
        Ok(()) if durability == Durability::Synced => sync_parent(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(path)(error)),
        _ => Ok(()),
    }
}

/// Makes the name of a file that is there already, and every folder above it, as durable as its bytes.
pub(super) fn sync_names(path: &Path) -> Result<(), Error> {
    path.parent().map_or(Ok(()), sync_folders)?;
    sync_parent(path)
}

fn write(path: &Path, digest: &Digest, durability: Durability) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(digest.to_string().as_bytes())?;
    if durability == Durability::Synced { file.sync_all() } else { Ok(()) }
}

/// A name that no other call uses. Left behind by a crash it is no link: only files called `link` are read.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!(".link-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(unique)
}

/// Makes the folders above `path`; synced, each one's own name is on disk too, whoever made it.
pub(super) fn make_parent(path: &Path, durability: Durability) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if !parent.is_dir() {
        fs::create_dir_all(parent).map_err(Error::at(parent))?;
    }
    if durability == Durability::Synced { sync_folders(parent) } else { Ok(()) }
}

/// Folders whose names this process knows to be on the disk. That a folder is there says nothing of that: an unsynced
/// fill may have made it, or another push that is about to sync it.
static ON_DISK: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// How many are known at a time. What is forgotten is synced once more.
const KNOWN: usize = 16 << 10;

fn sync_folders(dir: &Path) -> Result<(), Error> {
    let unknown: Vec<&Path> = {
        let known = ON_DISK.lock();
        dir.ancestors().take_while(|folder| !known.contains(*folder) && !is_root(folder)).collect()
    };
    unknown.iter().rev().try_for_each(|folder| sync_parent(folder))?;
    let mut known = ON_DISK.lock();
    if known.len() + unknown.len() > KNOWN {
        known.clear();
    }
    known.extend(unknown.into_iter().map(Path::to_owned));
    Ok(())
}

/// Whether a folder is the volume's own, which is the operator's: what is above it may not be ours to open.
fn is_root(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.join(layout::LOCK).is_file()
}

/// Removes a folder if it is empty: one that is not stays, by the kernel's own rule.
pub(super) fn remove_empty(dir: &Path) {
    let _ = remove_folder(dir, fs::remove_dir);
}

/// A folder that is removed may come back, as one that nobody has synced: whoever makes it waits here until it is unknown.
fn remove_folder(dir: &Path, remove: fn(PathBuf) -> io::Result<()>) -> io::Result<()> {
    let mut known = ON_DISK.lock();
    let removed = remove(dir.to_owned());
    known.retain(|folder| !folder.starts_with(dir));
    removed
}

pub(super) fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::at(parent))
}
