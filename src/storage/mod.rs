//! Bytes and links on disk: the truth of the house. What is not here is not stored, whatever the index says.
//!
//! Everything in this room blocks: callers on an async thread go through the blocking pool. Nothing here decides what
//! should be kept, fetched or served, and nothing here knows HTTP.

mod atomic_fs;
mod blocks;
mod claim;
mod error;
mod homes;
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
use layout::Layout;
pub use ledger::{Change, LEAST_QUOTA, Ledger, Purpose, Reservation};
pub use limits::{Bound, SpaceLimits};
pub use links::{RepositoryLinks, named_by};
use lock::Lock;
use parking_lot::Mutex;
pub use short::{Bounded, InsufficientSpace, LeasedBytes};
pub use staged::{FileWriter, Staged};
pub use upload_allocation::UploadAllocation;
use upload_allocation::UploadAllocations;
pub use uploads::{Opened, Upload, Uploads};
pub use usage::{Filesystem, Sum, Usage};

use crate::{
    descriptors::{self, Use},
    oci::{Digest, Repository},
};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub mtime: i64,
    /// The inode: another one means another file was put in its place.
    pub inode: u64,
}

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(Self { size: meta.len(), mtime, inode: meta.ino() })
    }
}

/// A published blob, open for reading. Keeps its bytes readable even when the name is removed meanwhile.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The open file. Read by offset only: the descriptor is shared.
    pub file: Arc<File>,
    /// What it was when it was opened.
    pub facts: FileStamp,
    /// What it occupies on the disk, in bytes.
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

/// A file that has its name.
#[derive(Debug)]
pub struct Published {
    /// What lies under that name.
    pub stored: Stored,
    /// Whether it is this one; otherwise another was published first.
    pub first: bool,
    /// What it was staged with: to be dropped when it is counted.
    pub reservation: Option<Reservation>,
}

/// One data directory, held by one process.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    homes: Homes,
    ledger: Arc<Ledger>,
    names: Arc<Directory>,
    allocations: Arc<UploadAllocations>,
    /// Files, by digest and inode, that could not be synced since this process began.
    unsynced: Mutex<HashSet<(Digest, u64)>>,
    _lock: Lock,
}

impl Storage {
    /// Opens the directory `root`, making it if it is missing, and sweeps what a killed process left in staging.
    /// Waits for another process that holds it.
    ///
    /// # Errors
    /// When the directory, or a folder of it that lies on another filesystem, cannot be made or written.
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

    /// Whether nothing was ever stored here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.layout.is_new()
    }

    /// Where the index lives: a folder that may be deleted at any time the server is down.
    #[must_use]
    pub fn index_dir(&self) -> std::path::PathBuf {
        self.layout.index()
    }

    /// Tries whether files can be made here. A disk that is full can be written again without anybody's help.
    ///
    /// # Errors
    /// When they cannot: the filesystem is read-only, or failed, or the folder is gone.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.homes.all_staging().try_for_each(|staging| staged::check_writable(&staging))
    }

    /// Tries whether anything can be read here.
    ///
    /// # Errors
    /// When it cannot: the filesystem failed, or the folder is gone.
    pub fn check_readable(&self) -> Result<(), Error> {
        let root = self.layout.root();
        let first = fs::read_dir(root).and_then(|mut entries| entries.next().transpose());
        first.map(drop).map_err(Error::at(root))
    }

    /// Opens a published blob; `None` when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let path = self.layout.blob(digest);
        look::found(&path, Stored::open(&path))
    }

    /// As [`Storage::blob`], for a client: the descriptors that are kept for this program's own work are not for it.
    ///
    /// # Errors
    /// As [`Storage::blob`], or when there are no others left.
    pub fn blob_for_client(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        match self.blob(digest)? {
            Some(stored) if descriptors::is_kept(&*stored.file, Use::File) => {
                Err(self.unread(digest, rustix::io::Errno::MFILE.into()))
            }
            stored => Ok(stored),
        }
    }

    /// Whether a blob of this digest is published.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        look::is_there(&self.layout.blob(digest))
    }

    /// All bytes of an open blob.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn bytes(&self, digest: &Digest, stored: &Stored) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(stored.facts.size).unwrap_or(usize::MAX)];
        stored.file.read_exact_at(&mut bytes, 0).map_err(|error| self.unread(digest, error))?;
        Ok(bytes)
    }

    /// The failure of a read of a blob's bytes.
    #[must_use]
    pub fn unread(&self, digest: &Digest, error: io::Error) -> Error {
        Error::at(&self.layout.blob(digest))(error)
    }

    /// Removes a blob's bytes. Its links must be gone first (law 2), or the bytes be damaged.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        look::found(&path, fs::remove_file(&path))?;
        self.forget_syncs(digest);
        self.names.remove_emptied(&path);
        Ok(())
    }

    /// Makes a published blob durable that was published without: its bytes, its name and the folders above it.
    ///
    /// # Errors
    /// When it is not there, or a sync fails, or one of this very file failed before.
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

    /// Whether a sync of a published blob failed, so that it is not known to be on the disk.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn is_unsynced(&self, digest: &Digest) -> Result<bool, Error> {
        let stored = self.blob(digest)?;
        Ok(stored.is_some_and(|stored| self.unsynced.lock().contains(&(*digest, stored.facts.inode))))
    }

    /// Forgets the failed syncs of a file that is not there any more: another one may get its inode.
    fn forget_syncs(&self, digest: &Digest) {
        self.unsynced.lock().retain(|(failed, _)| failed != digest);
    }

    /// Brings everything to disk that was changed until now: what is removed after it stands on what was removed before.
    ///
    /// # Errors
    /// When the filesystem cannot.
    pub fn sync(&self) -> Result<(), Error> {
        let path = self.layout.lock();
        File::open(&path).and_then(|file| Ok(rustix::fs::syncfs(file)?)).map_err(Error::at(&path))
    }

    /// The published blobs whose hash begins with this byte, in no order.
    pub fn blobs_beginning(&self, first: u8) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        self.layout.blobs_beginning(first)
    }

    /// Whether this is the volume of a `registry:2` that was a pull-through cache.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn is_proxy_volume(&self) -> Result<bool, Error> {
        look::is_there(&self.layout.proxy_state())
    }

    /// Whether it was such a volume, and is adopted.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn was_proxy_volume(&self) -> Result<bool, Error> {
        let state = self.layout.adopted_state();
        state.try_exists().map_err(Error::at(&state))
    }

    /// Says that this is such a volume, as `registry:2` would.
    ///
    /// # Errors
    /// When the state file cannot be made.
    pub fn begin_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        File::create(&state).map_err(Error::at(&state))?;
        atomic_fs::sync_parent(&state)
    }

    /// Remembers that it was adopted: what `registry:2` pushes to it from now on is its own.
    ///
    /// # Errors
    /// When its state file cannot be set aside.
    pub fn end_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        self.names.set_aside(&state, &self.layout.adopted_state())
    }

    /// The upload sessions of one repository.
    #[must_use]
    pub fn uploads(&self, repository: &Repository) -> Uploads {
        let dir = layout::uploads(&self.layout.repository(repository));
        Uploads::new(dir, Arc::clone(&self.names), Arc::clone(&self.allocations))
    }

    /// Publishes what an upload session received, all of which hashes to `digest`, synced. Where another file was published
    /// first that one stays, and the session's bytes stay where they are.
    ///
    /// # Errors
    /// When a sync or the rename fails; the session is as it was.
    pub fn publish_upload(&self, upload: &Upload, digest: &Digest) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        let reservation = upload.publish(&path, &self.homes.staging(&path)?)?;
        let stored = Stored::open(&path).map_err(Error::at(&path))?;
        Ok(Published { stored, first: reservation.is_some(), reservation })
    }

    /// What is used, and what may be.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Sets `bytes` aside on this filesystem.
    ///
    /// # Errors
    /// [`InsufficientSpace`], when they do not fit.
    pub fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, InsufficientSpace> {
        Arc::clone(&self.ledger).reserve(purpose, bytes)
    }

    /// How many bytes have to be copied to publish what an upload session received: none where a rename will do.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn to_copy(&self, upload: &Upload, digest: &Digest) -> Result<u64, Error> {
        match Homes::are_together(&upload.data(), &self.layout.blob(digest))? {
            true => Ok(0),
            false => Ok(upload.received()?.unwrap_or(0)),
        }
    }

    /// Makes an empty staged file for the blob `digest` within a reservation (law 6), with room for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Full`] when the filesystem has no room after all.
    pub fn stage(&self, digest: &Digest, reservation: Reservation, size: u64) -> Result<Staged, Error> {
        Staged::create(&self.homes.staging(&self.layout.blob(digest))?, reservation, size)
    }

    /// Publishes a staged file, all of whose bytes hash to `digest`, under that digest. Where another one was published
    /// first, that one stays and the staged one goes.
    ///
    /// # Errors
    /// When the rename or, where asked for, a sync fails; the staged file is gone then.
    pub fn publish(&self, staged: Staged, digest: &Digest, durability: Durability) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        let (first, reservation) = staged.publish(&self.names, &path, durability)?;
        Ok(Published { stored: Stored::open(&path).map_err(Error::at(&path))?, first, reservation })
    }

    /// The links of one repository.
    #[must_use]
    pub fn links(&self, repository: &Repository) -> RepositoryLinks {
        RepositoryLinks::new(self.layout.repository(repository), Arc::clone(&self.names))
    }

    /// Every published blob with its length in bytes, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = Result<(Digest, u64), Error>> + '_ {
        self.layout.blobs().filter_map(|digest| digest.and_then(|digest| self.sized(digest)).transpose())
    }

    fn sized(&self, digest: Digest) -> Result<Option<(Digest, u64)>, Error> {
        Ok(look::metadata(&self.layout.blob(&digest))?.map(|found| (digest, found.len())))
    }

    /// Whether a process has the directory `root` open.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn is_in_use(root: &Path) -> Result<bool, Error> {
        Lock::is_held(&Layout::new(root).lock())
    }

    /// Every repository that has a folder here, hosted ones last. After a failure the others follow.
    pub fn repositories(&self) -> impl Iterator<Item = Result<Repository, Error>> + use<> {
        self.layout.repositories()
    }
}
