//! Blobs, links and upload sessions on disk. Storage is the source of truth: content that is not here is not stored,
//! whatever the index says.
//!
//! [`Storage`] is the volume, which any code may hold. Everything that reads or writes it belongs to [`Disk`], a handle
//! that is made with a [`Blocking`], or takes a [`Blocking`] itself: async code runs such work on a lane. This module
//! does not decide about caching, fetching or serving, and knows no HTTP.

mod accounts;
mod atomic_fs;
mod blob_file;
mod blocks;
mod claim;
mod disk;
mod durable_disk;
mod durable_store;
mod error;
mod journal;
mod last_uses;
mod layout;
mod ledger;
mod limits;
mod link_kind;
mod links;
mod lock;
mod lock_regions;
mod look;
mod mount_roots;
mod pins;
mod proxy_volume;
mod pull_notes;
mod pull_record;
mod quarantine;
mod scan;
mod short;
mod staged;
mod synced_folders;
mod upload_allocation;
mod uploads;
mod usage;
mod walk;

use std::{collections::HashSet, fs, path::Path, sync::Arc};

pub use accounts::{Change, MIN_QUOTA_BYTES, MirroredBytes, Totals};
use atomic_fs::Directory;
pub use atomic_fs::Durability;
pub use blob_file::{BlobFile, FileStamp, NewFile, Published, Stored};
pub use claim::{Claim, Verdict};
pub use disk::Disk;
pub use durable_store::{AppendBytes, BlobContent, DurableStore};
pub use error::Error;
pub use journal::{Journal, JournalLine};
pub use last_uses::{LastUse, LastUses};
use layout::Layout;
pub use ledger::{Ledger, Purpose, Reservation};
pub use limits::{Bound, SpaceLimits};
pub use link_kind::LinkKind;
pub use links::{RepositoryLinks, named_by};
use lock::Lock;
use mount_roots::MountRoots;
use parking_lot::Mutex;
pub use pull_record::PullRecord;
pub use short::{Bounded, InsufficientSpace, LeasedBytes};
pub use staged::{FileWriter, Staged};
pub use upload_allocation::UploadAllocation;
use upload_allocation::UploadAllocations;
pub use uploads::{Opened, Upload, UploadFile, Uploads};
pub use usage::{Delta, Filesystem, Sum, Usage};

use crate::{lanes::Blocking, oci::Digest};

/// A data directory, locked by this process. Its methods do not block: [`Storage::disk`] has those that do.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    mount_roots: MountRoots,
    ledger: Arc<Ledger>,
    names: Arc<Directory>,
    allocations: Arc<UploadAllocations>,
    /// Files, by digest and inode, whose sync failed since this process began.
    unsynced: Mutex<HashSet<(Digest, u64)>>,
    _lock: Lock,
}

impl Storage {
    /// Opens the directory `root`, making it if it is missing, and removes the staged files of a killed process. Waits
    /// for another process that holds the lock.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the directory, or a folder of it on another mount, cannot be made or written.
    pub fn open(_io: &Blocking, root: &Path, limits: SpaceLimits) -> Result<Self, Error> {
        let layout = Layout::new(root);
        fs::create_dir_all(root).map_err(Error::at(root))?;
        let lock = Lock::acquire(&layout.lock())?;
        let mount_roots = MountRoots::open(&layout)?;
        let ledger = Arc::new(Ledger::new(root, mount_roots.dirs().map(Path::to_owned).collect(), limits));
        let names = Arc::new(Directory::new(root, Arc::clone(&ledger)));
        let (allocations, unsynced) = (Arc::default(), Mutex::default());
        Ok(Self { ledger, names, layout, mount_roots, allocations, unsynced, _lock: lock })
    }

    /// Returns whether a process has the directory `root` open.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn is_in_use(_io: &Blocking, root: &Path) -> Result<bool, Error> {
        Lock::is_held(&Layout::new(root).lock())
    }

    /// Returns the handle by which code that may block reads and writes the volume.
    #[must_use]
    pub fn disk<'a>(&'a self, io: &'a Blocking) -> Disk<'a> {
        Disk::new(self, io)
    }

    /// Returns the folder of the index, which may be deleted while the server is down.
    #[must_use]
    pub fn index_dir(&self) -> std::path::PathBuf {
        self.layout.index()
    }

    /// Returns the folder of the events that wait for the receivers of notifications.
    #[must_use]
    pub fn notifications_dir(&self) -> std::path::PathBuf {
        self.layout.notifications()
    }

    /// Returns the names of the folders in `dir`; none if it is missing or cannot be read.
    #[must_use]
    pub fn queues(_io: &Blocking, dir: &Path) -> Vec<String> {
        look::folders(dir, |name| Some(name.to_owned())).filter_map(Result::ok).collect()
    }

    /// Returns the space accounting.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Converts the error of a read of a blob's bytes.
    #[must_use]
    pub fn unread(&self, digest: &Digest, error: std::io::Error) -> Error {
        Error::at(&self.layout.blob(digest))(error)
    }

    /// Forgets the failed syncs of a removed file: another file may get its inode.
    fn forget_syncs(&self, digest: &Digest) {
        self.unsynced.lock().retain(|(failed, _)| failed != digest);
    }
}

#[cfg(test)]
mod contract_tests;
