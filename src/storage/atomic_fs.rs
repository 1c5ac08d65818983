//! The only module that renames or links files. A file is written under a temporary name and renamed, so that a crash
//! leaves the old state or the new one. The disk space of folders and links is charged here, as they are made and
//! removed.

#![expect(clippy::disallowed_methods, reason = "this is the helper the ban points to")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    Error, Ledger,
    accounts::Charge,
    lock_regions::{LockRegions, RegionId},
    look,
    synced_folders::SyncedFolders,
    usage::{allocated, allocated_folder, tree},
};
use crate::oci::Digest;

/// The data that must be on disk when a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The bytes, the name, and every folder made for it. An acknowledgement requires it (law 3 of ARCHITECTURE.md).
    Synced,
    /// Nothing: mirrored content can be fetched again, and is hashed again at its first use after a crash.
    Unsynced,
}

/// The result of a rename that does not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renamed<T> {
    /// It has the new name; the value is what comes with it.
    Done(T),
    /// The new name is taken, and nothing changed.
    Taken,
}

impl<T> Renamed<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Renamed<U> {
        match self {
            Self::Done(done) => Renamed::Done(map(done)),
            Self::Taken => Renamed::Taken,
        }
    }
}

/// The number of attempts to put a file into a folder that is concurrently removed while empty.
const MAX_ATTEMPTS: usize = 8;

/// The folders and links of one data directory.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    pub(super) regions: LockRegions,
    pub(super) ledger: Arc<Ledger>,
    synced: SyncedFolders,
}

impl Directory {
    pub(super) fn new(root: &Path, ledger: Arc<Ledger>) -> Self {
        Self { root: root.to_owned(), regions: LockRegions::new(root), ledger, synced: SyncedFolders::default() }
    }

    /// Renames `from` to `to`, unless `to` exists: the older file stays then, so that an unsynced file never replaces a
    /// durable one.
    pub(super) fn rename(&self, from: &Path, to: &Path, durability: Durability) -> Result<Renamed<()>, Error> {
        let renamed = self.within(to, durability, || rename(from, to))?;
        if durability == Durability::Synced {
            sync_parent(to)?;
        }
        Ok(renamed)
    }

    /// Writes a link file, replacing an older one.
    pub(super) fn link(&self, path: &Path, digest: &Digest, durability: Durability) -> Result<(), Error> {
        self.write(path, &digest.to_string(), durability)
    }

    /// Writes a small file, replacing an older one.
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

    /// Sets the time of a file that is empty, durably, and makes it if it is missing. Makes no folder.
    pub(super) fn touch(&self, path: &Path, time: SystemTime) -> Result<(), Error> {
        let region = self.regions.of(path);
        let file = {
            let _lock = self.regions.lock(region);
            let before = allocated(path);
            let file =
                OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(Error::at(path))?;
            self.charge(region, before, allocated(path));
            file
        };
        file.set_modified(time).map_err(Error::at(path))?;
        sync(&file, path)?;
        sync_parent(path)
    }

    /// Moves a damaged data file to `to`, replacing an older one.
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

    /// Renames a folder within its region, durably, unless `to` exists. It needs no space, so it works on a full disk.
    pub(super) fn move_folder(&self, from: &Path, to: &Path) -> Result<Renamed<()>, Error> {
        let (left, entered) = (from.parent().unwrap_or(from), to.parent().unwrap_or(to));
        {
            let (region, above) = (self.regions.of(left), self.regions.of(entered));
            let _locks = self.regions.lock_two(region, above);
            let before = (allocated_folder(left), allocated_folder(entered));
            match self.synced.removing(from, || fs::rename(from, to)) {
                Err(error) if is_taken(&error) => return Ok(Renamed::Taken),
                moved => moved.map_err(Error::at(from))?,
            }
            self.charge(region, before.0, allocated_folder(left));
            self.charge(above, before.1, allocated_folder(entered));
        }
        sync_parent(to)?;
        sync_parent(from)?;
        Ok(Renamed::Done(()))
    }

    /// Removes a link, or a folder with all that is in it. Succeeds if there is none.
    pub(super) fn remove(&self, path: &Path, durability: Durability) -> Result<(), Error> {
        let removed = match look::metadata(path)? {
            None => None,
            Some(found) if found.is_dir() => self.remove_tree(path)?,
            Some(_) => look::found(path, self.remove_file(path))?,
        };
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
        let removed = self.synced.removing(dir, || fs::remove_dir_all(dir));
        // After a failure the rest is charged as it is now.
        let left = if removed.is_ok() { 0 } else { tree(dir)? };
        self.charge(region, before, left);
        self.charge(above, beside, allocated_folder(parent));
        look::found(dir, removed)
    }

    /// Removes the folder of a removed file, if it is empty. Returns whether it was removed.
    pub(super) fn remove_emptied(&self, gone: &Path) -> bool {
        gone.parent().is_some_and(|folder| self.remove_empty(folder))
    }

    /// Removes a folder if it is empty; otherwise `rmdir` fails and the folder stays. Returns whether it was removed.
    pub(super) fn remove_empty(&self, dir: &Path) -> bool {
        // Many folders that are asked for were never made, and the measurements below cost more than this look.
        match look::symlink_metadata(dir) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(%error, "an empty folder may stay until the next start");
                return false;
            }
        }
        let parent = dir.parent().unwrap_or(dir);
        let (region, above) = (self.regions.of(dir), self.regions.of(parent));
        let _locks = self.regions.lock_two(region, above);
        let (before, beside) = (allocated(dir), allocated_folder(parent));
        let is_removed = self.synced.removing_empty(dir, || fs::remove_dir(dir)).is_ok();
        if is_removed {
            self.charge(region, before, 0);
            self.charge(above, beside, allocated_folder(parent));
        }
        is_removed
    }

    /// Syncs the name of an existing file and of every folder above it.
    pub(super) fn sync_names(&self, path: &Path) -> Result<(), Error> {
        path.parent().map_or(Ok(()), |parent| self.sync_folders(parent))?;
        sync_parent(path)
    }

    /// Runs `act` in the folder of `path`, making the folder if need be. Tries again if another request removes the
    /// folder while it is empty.
    fn within<T>(&self, path: &Path, durability: Durability, act: impl Fn() -> io::Result<T>) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            self.make_parent(path, durability)?;
            tries += 1;
            match act() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < MAX_ATTEMPTS => {}
                done => return done.map_err(Error::at(path)),
            }
        }
    }

    /// Makes the folders above `path`. If synced, the name of each is on disk afterwards, even if another request made
    /// it.
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
            // Another request removed it while it was empty.
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
        let above = dir.ancestors().take_while(|folder| *folder != self.root);
        let syncing = self.synced.begin(above);
        syncing.unknown().iter().rev().try_for_each(|folder| sync_parent(folder))?;
        syncing.succeeded();
        Ok(())
    }
}

/// Returns whether a rename failed because a folder that is not empty lies at the target.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Removes a temporary file.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<Renamed<()>> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Renamed::Done(())),
        Err(rustix::io::Errno::EXIST) => Ok(Renamed::Taken),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_and_unlink(from, to),
        Err(error) => Err(error.into()),
    }
}

/// The fallback on filesystems without `RENAME_NOREPLACE`, such as NFS: a hard link does not replace either.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<Renamed<()>> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(Renamed::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Renamed::Taken),
        Err(error) => Err(error),
    }
}

/// Checks that a file can be renamed from one folder to another; the first is made if it is missing.
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

/// Writes a file that is measured and not charged, by way of `temporary`, and syncs it. An older one is replaced at
/// once.
pub(super) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), Error> {
    let replaced = write(temporary, bytes, Durability::Synced).and_then(|()| fs::rename(temporary, path));
    if replaced.is_err() {
        let _ = fs::remove_file(temporary);
    }
    replaced.map_err(Error::at(path))?;
    sync_parent(path)
}

/// Returns a unique name. If a crash leaves it behind, it is not taken for a link: only files named `link` are read.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = format!(".link-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(unique)
}

/// Syncs the folder of `path`. After a failure another request may sync it again: its content is in the journal, and a
/// filesystem that cannot write its journal becomes read-only.
pub(super) fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let dir = File::open(parent).map_err(Error::at(parent))?;
    sync(&dir, parent)
}

/// Syncs a file's bytes. After a failure the sync must not be repeated: see [`Error::Unsynced`].
pub(super) fn sync(file: &File, path: &Path) -> Result<(), Error> {
    file.sync_all().map_err(Error::unsynced(path))
}
