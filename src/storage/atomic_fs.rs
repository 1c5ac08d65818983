//! The one place where a name on disk comes to mean something: a file is written under a name of its own and renamed,
//! so that a crash leaves the old state or the new one. What folders and links cost is charged here, where they are made
//! and removed.

#![expect(clippy::disallowed_methods, reason = "this is the helper the ban points to")]

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    Error, Ledger,
    ledger::Charge,
    lock_regions::{LockRegions, RegionId},
    look,
    usage::{allocated, allocated_folder, tree},
};
use crate::oci::Digest;

/// What must have reached the disk when a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes, the name, and every folder made for it: what an acknowledgement stands on (law 3).
    Synced,
    /// Nothing: mirrored content can be fetched again, and its first use after a crash re-hashes it.
    Unsynced,
}

/// How many folders are known to be on the disk at a time. What is forgotten is synced once more.
const KNOWN: usize = 16 << 10;
/// How often a folder may go from under a file that is about to lie in it.
const TRIES: usize = 8;

/// The names of one data directory.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    pub(super) regions: LockRegions,
    pub(super) ledger: Arc<Ledger>,
    /// Folders whose names this process knows to be on the disk. That a folder is there says nothing of that: an unsynced
    /// fill may have made it, or another push that is about to sync it.
    on_disk: Mutex<HashSet<PathBuf>>,
}

impl Directory {
    pub(super) fn new(root: &Path, ledger: Arc<Ledger>) -> Self {
        Self { root: root.to_owned(), regions: LockRegions::new(root), ledger, on_disk: Mutex::default() }
    }

    /// Gives `from` the name `to`, unless that name is taken: then the older file stays and `Ok(false)` is returned, so an
    /// unsynced file can never replace a durable one.
    pub(super) fn rename(&self, from: &Path, to: &Path, durability: Durability) -> Result<bool, Error> {
        let renamed = self.within(to, durability, || rename(from, to))?;
        if durability == Durability::Synced {
            sync_parent(to)?;
        }
        Ok(renamed)
    }

    /// Writes a link file, replacing what it said before.
    pub(super) fn link(&self, path: &Path, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.write(path, &digest.to_string(), durability)
    }

    /// Writes a small file, replacing what it said before.
    pub(super) fn write(&self, path: &Path, text: &str, durability: Durability) -> Result<(), Error> {
        self.within(path, durability, || self.put(path, text.as_bytes(), durability))?;
        if durability == Durability::Synced { sync_parent(path) } else { Ok(()) }
    }

    fn put(&self, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
        let temporary = temporary_beside(path);
        let put = write(&temporary, bytes, durability).and_then(|()| {
            let region = self.regions.of(path);
            let _lock = self.regions.lock(region);
            let before = allocated(path);
            fs::rename(&temporary, path)?;
            self.charge(region, before, allocated(path));
            Ok(())
        });
        if put.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        put
    }

    /// Moves a data file aside, replacing what lies there.
    pub(super) fn set_aside(&self, from: &Path, to: &Path) -> Result<(), Error> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(Error::at(parent))?;
        }
        fs::rename(from, to).map_err(Error::at(from))?;
        sync_parent(to)?;
        sync_parent(from)?;
        self.remove_emptied(from);
        Ok(())
    }

    /// Gives a folder another name in the same part of the tree, durably. `false` where something lies there already. It takes
    /// no room, so that a full disk does it, too.
    pub(super) fn move_folder(&self, from: &Path, to: &Path) -> Result<bool, Error> {
        let (left, entered) = (from.parent().unwrap_or(from), to.parent().unwrap_or(to));
        {
            let (region, above) = (self.regions.of(left), self.regions.of(entered));
            let _locks = self.regions.lock_two(region, above);
            let before = (allocated_folder(left), allocated_folder(entered));
            let forget = |known: &mut HashSet<PathBuf>| known.retain(|folder| !folder.starts_with(from));
            match self.forgetting(forget, || fs::rename(from, to)) {
                Err(error) if is_taken(&error) => return Ok(false),
                moved => moved.map_err(Error::at(from))?,
            }
            self.charge(region, before.0, allocated_folder(left));
            self.charge(above, before.1, allocated_folder(entered));
        }
        sync_parent(to)?;
        sync_parent(from)?;
        Ok(true)
    }

    /// Removes a link and the folder of its own that it lay in, or a folder with all that is in it; one that is not there
    /// is no failure.
    pub(super) fn remove(&self, path: &Path, durability: Durability) -> Result<(), Error> {
        let removed =
            if look::is_folder(path)? { self.remove_tree(path)? } else { look::found(path, self.remove_file(path))? };
        match removed {
            Some(()) if durability == Durability::Synced => sync_parent(path),
            _ => Ok(()),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let region = self.regions.of(path);
        let _lock = self.regions.lock(region);
        let before = allocated(path);
        fs::remove_file(path)?;
        self.charge(region, before, 0);
        Ok(())
    }

    fn remove_tree(&self, dir: &Path) -> Result<Option<()>, Error> {
        let parent = dir.parent().unwrap_or(dir);
        let (region, above) = (self.regions.of(dir), self.regions.of(parent));
        let _locks = self.regions.lock_two(region, above);
        let (before, beside) = (tree(dir)?, allocated_folder(parent));
        let removed =
            self.forgetting(|known| known.retain(|folder| !folder.starts_with(dir)), || fs::remove_dir_all(dir));
        // What it could not remove all of is counted as it is now.
        let left = if removed.is_ok() { 0 } else { tree(dir)? };
        self.charge(region, before, left);
        self.charge(above, beside, allocated_folder(parent));
        look::found(dir, removed)
    }

    /// Removes the folder that a file lay in, if that was all.
    pub(super) fn remove_emptied(&self, gone: &Path) {
        if let Some(folder) = gone.parent() {
            self.remove_empty(folder);
        }
    }

    /// Removes a folder if it is empty: one that is not stays, by the kernel's own rule.
    pub(super) fn remove_empty(&self, dir: &Path) {
        let parent = dir.parent().unwrap_or(dir);
        let (region, above) = (self.regions.of(dir), self.regions.of(parent));
        let _locks = self.regions.lock_two(region, above);
        let (before, beside) = (allocated(dir), allocated_folder(parent));
        if self.forgetting(|known| _ = known.remove(dir), || fs::remove_dir(dir)).is_ok() {
            self.charge(region, before, 0);
            self.charge(above, beside, allocated_folder(parent));
        }
    }

    /// A folder that is removed may come back, as one that nobody has synced: whoever makes it waits here until it is
    /// unknown.
    fn forgetting(
        &self,
        forget: impl FnOnce(&mut HashSet<PathBuf>),
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut known = self.on_disk.lock();
        let removed = remove();
        forget(&mut known);
        removed
    }

    /// Makes the name of a file that is there already, and every folder above it, as durable as its bytes.
    pub(super) fn sync_names(&self, path: &Path) -> Result<(), Error> {
        path.parent().map_or(Ok(()), |parent| self.sync_folders(parent))?;
        sync_parent(path)
    }

    /// Does something in the folder of `path`, which it makes if need be. Somebody may remove the folder, empty as it still
    /// is, before anything lies in it.
    fn within<T>(&self, path: &Path, durability: Durability, act: impl Fn() -> io::Result<T>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            self.make_parent(path, durability)?;
            tries += 1;
            match act() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                done => return done.map_err(Error::at(path)),
            }
        }
    }

    /// Makes the folders above `path`; synced, each one's own name is on disk too, whoever made it.
    pub(super) fn make_parent(&self, path: &Path, durability: Durability) -> Result<(), Error> {
        let Some(parent) = path.parent() else { return Ok(()) };
        self.make_folder(parent)?;
        if durability == Durability::Synced { self.sync_folders(parent) } else { Ok(()) }
    }

    fn make_folder(&self, dir: &Path) -> Result<(), Error> {
        if look::is_folder(dir)? {
            return Ok(());
        }
        let Some(parent) = dir.parent() else { return Ok(()) };
        self.make_folder(parent)?;
        let (region, above) = (self.regions.of(dir), self.regions.of(parent));
        let locks = self.regions.lock_two(region, above);
        let beside = allocated_folder(parent);
        match fs::create_dir(dir) {
            Ok(()) => {
                self.charge(region, 0, allocated(dir));
                self.charge(above, beside, allocated_folder(parent));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // It went again, empty as it was.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(locks);
                self.make_folder(dir)
            }
            Err(error) => Err(Error::at(dir)(error)),
        }
    }

    fn charge(&self, region: RegionId, before: u64, after: u64) {
        if before != after {
            self.ledger.charge(region, Charge { links: signed(after) - signed(before), sessions: 0 });
        }
    }

    fn sync_folders(&self, dir: &Path) -> Result<(), Error> {
        let unknown: Vec<&Path> = {
            let known = self.on_disk.lock();
            dir.ancestors().take_while(|folder| *folder != self.root && !known.contains(*folder)).collect()
        };
        unknown.iter().rev().try_for_each(|folder| sync_parent(folder))?;
        let mut known = self.on_disk.lock();
        if known.len() + unknown.len() > KNOWN {
            known.clear();
        }
        known.extend(unknown.into_iter().map(Path::to_owned));
        Ok(())
    }
}

/// Whether a folder has no place where another one lies that is not empty.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Removes a file that never came to mean anything.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_and_unlink(from, to),
        Err(error) => Err(error.into()),
    }
}

/// The same on a filesystem that has no rename without replacing, such as NFS: a second name is never given twice either.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tries whether a file that is written in one folder can be renamed into another; the first is made if it is missing.
pub(super) fn try_rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(from).map_err(Error::at(from))?;
    let name = format!(".try-{}", std::process::id());
    let (staged, published) = (from.join(&name), to.join(&name));
    discard(&staged).map_err(Error::at(&staged))?;
    write(&staged, b"", Durability::Unsynced).map_err(Error::at(&staged))?;
    let renamed = fs::rename(&staged, &published).map_err(Error::at(&published));
    discard(&staged).map_err(Error::at(&staged))?;
    discard(&published).map_err(Error::at(&published))?;
    renamed
}

fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Synced { file.sync_all() } else { Ok(()) }
}

/// A name that no other call uses. Left behind by a crash it is no link: only files called `link` are read.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!(".link-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(unique)
}

/// Syncs the folder of `path`. A folder whose sync failed is synced again by whoever needs it next: what is in it is a
/// journal's, and a filesystem that cannot write its journal takes no more writes at all.
pub(super) fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let dir = File::open(parent).map_err(Error::at(parent))?;
    sync(&dir, parent)
}

/// Brings a file's bytes to disk. Once that failed they must not be asked for again: see [`Error::Unsynced`].
pub(super) fn sync(file: &File, path: &Path) -> Result<(), Error> {
    file.sync_all().map_err(Error::unsynced(path))
}
