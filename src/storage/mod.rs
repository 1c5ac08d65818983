//! Blobs, links and upload sessions on disk. Storage is the source of truth: content that is not here is not stored,
//! whatever the index says.
//!
//! All calls block, so async callers run them on a lane. This module does not decide about caching, fetching or
//! serving, and knows no HTTP.

mod atomic_fs;
mod blocks;
mod claim;
mod error;
mod homes;
mod last_uses;
mod layout;
mod ledger;
mod limits;
mod links;
mod lock;
mod lock_regions;
mod look;
mod quarantine;
mod scan;
mod short;
mod staged;
mod synced_folders;
mod upload_allocation;
mod uploads;
mod usage;
mod walk;

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::Arc,
};

use atomic_fs::Directory;
pub use atomic_fs::Durability;
pub use claim::{Claim, Verdict};
pub use error::Error;
use homes::Homes;
pub use last_uses::{LastUse, LastUses};
use layout::Layout;
pub use ledger::{Change, LEAST_QUOTA, Ledger, Purpose, Reservation, Totals};
pub use limits::{Bound, SpaceLimits};
pub use links::{RepositoryLinks, named_by};
use lock::Lock;
use parking_lot::Mutex;
pub use short::{Bounded, InsufficientSpace, LeasedBytes};
pub use staged::{FileWriter, Staged};
pub use upload_allocation::UploadAllocation;
use upload_allocation::UploadAllocations;
pub use uploads::{Opened, Upload, Uploads};
pub use usage::{Delta, Filesystem, Sum, Usage};

use crate::{
    descriptors::{self, Use},
    oci::{Digest, Repository},
};

/// The metadata that identifies the state of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// The time of the last modification, in nanoseconds since the epoch.
    pub mtime: i64,
    /// The inode's number: another one means another file was put in its place.
    pub inode: u64,
}

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(Self { size: meta.len(), mtime, inode: meta.ino() })
    }
}

/// A published blob, open for reading. Its bytes stay readable even if its name is removed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The open file. Read at explicit offsets only: the descriptor is shared.
    pub file: Arc<File>,
    /// The state of the file when it was opened.
    pub facts: FileStamp,
    /// The bytes that it occupies on disk.
    pub allocated: u64,
}

impl Stored {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let facts = FileStamp::of(&file)?;
        let allocated = blocks::blocks(&file);
        Ok(Self { file: Arc::new(file), facts, allocated })
    }
}

/// The result of publishing a file.
#[derive(Debug)]
pub struct Published {
    /// The file that has the name now.
    pub stored: Stored,
    /// Set if it is the new file; otherwise another was published first.
    pub first: bool,
    /// The reservation of the new file. Drop it after the file is counted.
    pub reservation: Option<Reservation>,
}

/// A data directory, locked by this process.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    homes: Homes,
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
    pub fn open(root: &Path, limits: SpaceLimits) -> Result<Self, Error> {
        let layout = Layout::new(root);
        fs::create_dir_all(root).map_err(Error::at(root))?;
        let lock = Lock::acquire(&layout.lock())?;
        let homes = Homes::open(&layout)?;
        let ledger = Arc::new(Ledger::new(root, homes.dirs().map(Path::to_owned).collect(), limits));
        let names = Arc::new(Directory::new(root, Arc::clone(&ledger)));
        let (allocations, unsynced) = (Arc::default(), Mutex::default());
        Ok(Self { ledger, names, layout, homes, allocations, unsynced, _lock: lock })
    }

    /// Returns whether nothing was ever stored here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.layout.is_new()
    }

    /// Returns the folder of the index, which may be deleted while the server is down.
    #[must_use]
    pub fn index_dir(&self) -> std::path::PathBuf {
        self.layout.index()
    }

    /// Checks that files can be made here. A full disk counts as writable: eviction frees space.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the filesystem is read-only or failed, or the folder is gone.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.homes.all_staging().try_for_each(|staging| staged::check_writable(&staging))
    }

    /// Checks that the directory can be read.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the filesystem failed, or the folder is gone.
    pub fn check_readable(&self) -> Result<(), Error> {
        let root = self.layout.root();
        let first = fs::read_dir(root).and_then(|mut entries| entries.next().transpose());
        first.map(drop).map_err(Error::at(root))
    }

    /// Opens a published blob; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the file exists and cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let path = self.layout.blob(digest);
        look::found(&path, Stored::open(&path))
    }

    /// As [`Storage::blob`], for a client: does not use the reserved file descriptors.
    ///
    /// # Errors
    /// As [`Storage::blob`]; also if only reserved descriptors are left.
    pub fn blob_for_client(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        match self.blob(digest)? {
            Some(stored) if descriptors::is_kept(&*stored.file, Use::File) => {
                Err(self.unread(digest, rustix::io::Errno::MFILE.into()))
            }
            stored => Ok(stored),
        }
    }

    /// Returns whether a blob is published.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&self.layout.blob(digest))
    }

    /// Reads all bytes of an open blob.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be read.
    pub fn bytes(&self, digest: &Digest, stored: &Stored) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(stored.facts.size).unwrap_or(usize::MAX)];
        stored.file.read_exact_at(&mut bytes, 0).map_err(|error| self.unread(digest, error))?;
        Ok(bytes)
    }

    /// Converts the error of a read of a blob's bytes.
    #[must_use]
    pub fn unread(&self, digest: &Digest, error: io::Error) -> Error {
        Error::at(&self.layout.blob(digest))(error)
    }

    /// Removes a blob's bytes. Its links must be removed first (law 2 of ARCHITECTURE.md), unless the bytes are
    /// damaged.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the file exists and cannot be removed.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        look::found(&path, fs::remove_file(&path))?;
        self.forget_syncs(digest);
        self.names.remove_emptied(&path);
        Ok(())
    }

    /// Syncs a blob that was published unsynced: its bytes, its name and the folders above it.
    ///
    /// # Errors
    /// [`Error::Unsynced`] if a sync fails or an earlier one of this file failed; another variant if it is not there.
    pub fn make_durable(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        let stored = Stored::open(&path).map_err(Error::at(&path))?;
        let file = (*digest, stored.facts.inode);
        if self.unsynced.lock().contains(&file) {
            return Err(Error::unsynced(&path)(io::Error::other("that was before: the disk needs a look")));
        }
        atomic_fs::sync(&stored.file, &path).inspect_err(|_| _ = self.unsynced.lock().insert(file))?;
        self.names.sync_names(&path)
    }

    /// Returns whether a sync of a published blob failed, so that it may not be on disk.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be looked at.
    pub fn is_unsynced(&self, digest: &Digest) -> Result<bool, Error> {
        let stored = self.blob(digest)?;
        Ok(stored.is_some_and(|stored| self.unsynced.lock().contains(&(*digest, stored.facts.inode))))
    }

    /// Forgets the failed syncs of a removed file: another file may get its inode.
    fn forget_syncs(&self, digest: &Digest) {
        self.unsynced.lock().retain(|(failed, _)| failed != digest);
    }

    /// Syncs the filesystem, so that what is removed afterwards is not removed before what was removed until now.
    ///
    /// # Errors
    /// [`Error::Io`] if the filesystem cannot.
    pub fn sync(&self) -> Result<(), Error> {
        let path = self.layout.lock();
        File::open(&path).and_then(|file| Ok(rustix::fs::syncfs(file)?)).map_err(Error::at(&path))
    }

    /// Returns the published blobs whose hash begins with this byte, in no order.
    pub fn blobs_beginning(&self, first: u8) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        self.layout.blobs_beginning(first)
    }

    /// Returns whether this is the volume of a `registry:2` that was a pull-through cache.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn is_proxy_volume(&self) -> Result<bool, Error> {
        look::is_there(&self.layout.proxy_state())
    }

    /// Returns whether it was such a volume, and is migrated.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn was_proxy_volume(&self) -> Result<bool, Error> {
        let state = self.layout.adopted_state();
        state.try_exists().map_err(Error::at(&state))
    }

    /// Marks this as such a volume, in the way of `registry:2`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the state file cannot be made.
    pub fn begin_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        File::create(&state).map_err(Error::at(&state))?;
        atomic_fs::sync_parent(&state)
    }

    /// Marks the volume as migrated: what `registry:2` pushes to it from now on is hosted.
    ///
    /// # Errors
    /// Any variant of [`Error`] if its state file cannot be moved.
    pub fn end_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        self.names.set_aside(&state, &self.layout.adopted_state())
    }

    /// Returns the upload sessions of one repository.
    #[must_use]
    pub fn uploads(&self, repository: &Repository) -> Uploads {
        let dir = layout::uploads(&self.layout.repository(repository));
        Uploads::new(dir, Arc::clone(&self.names), Arc::clone(&self.allocations))
    }

    /// Publishes the bytes of an upload session, which hash to `digest`, synced. If another file was published first,
    /// that one stays, and the session keeps its bytes.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a sync or the rename fails; the session is unchanged then.
    pub fn publish_upload(&self, upload: &Upload, digest: &Digest) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        let reservation = upload.publish(&path, &self.homes.staging(&path)?)?;
        let stored = Stored::open(&path).map_err(Error::at(&path))?;
        Ok(Published { stored, first: reservation.is_some(), reservation })
    }

    /// Returns the space accounting.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Reserves `bytes` on this volume.
    ///
    /// # Errors
    /// [`InsufficientSpace`] if they do not fit.
    pub fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, InsufficientSpace> {
        Arc::clone(&self.ledger).reserve(purpose, bytes)
    }

    /// Returns how many bytes must be copied to publish an upload session: 0 if a rename suffices.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn to_copy(&self, upload: &Upload, digest: &Digest) -> Result<u64, Error> {
        match Homes::are_together(&upload.data(), &self.layout.blob(digest))? {
            true => Ok(0),
            false => Ok(upload.received()?.unwrap_or(0)),
        }
    }

    /// Creates an empty staged file for the blob `digest` within a reservation, with room for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Full`] if the filesystem has no room in spite of the reservation.
    pub fn stage(&self, digest: &Digest, reservation: Reservation, size: u64) -> Result<Staged, Error> {
        Staged::create(&self.homes.staging(&self.layout.blob(digest))?, reservation, size)
    }

    /// Publishes a staged file, whose bytes hash to `digest`. If another file was published first, that one stays and
    /// the staged one is removed.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the rename or a requested sync fails; the staged file is removed then.
    pub fn publish(&self, staged: Staged, digest: &Digest, durability: Durability) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        let (first, reservation) = staged.publish(&self.names, &path, durability)?;
        Ok(Published { stored: Stored::open(&path).map_err(Error::at(&path))?, first, reservation })
    }

    /// Returns the links of one repository.
    #[must_use]
    pub fn links(&self, repository: &Repository) -> RepositoryLinks {
        RepositoryLinks::new(self.layout.repository(repository), Arc::clone(&self.names))
    }

    /// Returns every published blob with its size in bytes, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = Result<(Digest, u64), Error>> + '_ {
        self.layout.blobs().filter_map(|digest| digest.and_then(|digest| self.sized(digest)).transpose())
    }

    fn sized(&self, digest: Digest) -> Result<Option<(Digest, u64)>, Error> {
        Ok(look::metadata(&self.layout.blob(&digest))?.map(|found| (digest, found.len())))
    }

    /// Returns whether a process has the directory `root` open.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn is_in_use(root: &Path) -> Result<bool, Error> {
        Lock::is_held(&Layout::new(root).lock())
    }

    /// Returns every repository that has a folder here; the hosted ones come last. Goes on after a failure.
    pub fn repositories(&self) -> impl Iterator<Item = Result<Repository, Error>> + use<> {
        self.layout.repositories()
    }
}
