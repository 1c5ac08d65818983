//! The one place where a name on disk comes to mean something: a file is written under a name of its own and renamed,
//! so that a crash leaves the old state or the new one.

#![expect(clippy::disallowed_methods, reason = "this is the helper the ban points to")]

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Error;
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
        Err(error) => return Err(Error::at(to)(error.into())),
    };
    if durability == Durability::Synced {
        sync_parent(to)?;
    }
    Ok(renamed)
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

/// Makes the folders above `path`; synced, each new one's own entry is on disk too.
fn make_parent(path: &Path, durability: Durability) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = parent.ancestors().take_while(|dir| !dir.is_dir()).collect();
    fs::create_dir_all(parent).map_err(Error::at(parent))?;
    if durability == Durability::Synced {
        missing.into_iter().rev().try_for_each(sync_parent)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::at(parent))
}
