//! Bytes and links on disk: the truth of the house. What is not here is not stored, whatever the index says.
//!
//! Everything in this room blocks: callers on an async thread go through the blocking pool. Nothing here decides what
//! should be kept, fetched or served, and nothing here knows HTTP.

mod error;
mod layout;
mod ledger;
mod links;
mod lock;
mod publish;
mod staged;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

pub use error::Error;
use layout::Layout;
pub use ledger::{Ledger, Reservation, Short};
pub use links::RepositoryLinks;
use lock::Lock;
pub use publish::Durability;
pub use staged::Staged;

use crate::oci::{Digest, Repository};

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Length in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub mtime: i64,
    /// The inode: another one means another file was put in its place.
    pub inode: u64,
}

impl Facts {
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
    pub facts: Facts,
}

impl Stored {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let facts = Facts::of(&file)?;
        Ok(Self { file: Arc::new(file), facts })
    }
}

/// One data directory, held by one process.
#[derive(Debug)]
pub struct Storage {
    layout: Layout,
    ledger: Arc<Ledger>,
    _lock: Lock,
}

impl Storage {
    /// Opens the directory `root`, making it if it is missing, and sweeps what a killed process left in staging.
    /// Waits for another process that holds it.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Layout::new(root);
        fs::create_dir_all(layout.staging()).map_err(Error::at(root))?;
        let lock = Lock::acquire(&layout.lock())?;
        staged::sweep(&layout.staging())?;
        Ok(Self { ledger: Arc::new(Ledger::new(root)), layout, _lock: lock })
    }

    /// Where the index lives: a folder that may be deleted at any time the server is down.
    #[must_use]
    pub fn index_dir(&self) -> std::path::PathBuf {
        self.layout.index()
    }

    /// Opens a published blob; `None` when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let path = self.layout.blob(digest);
        match Stored::open(&path) {
            Ok(stored) => Ok(Some(stored)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::at(&path)(error)),
        }
    }

    /// Whether a blob of this digest is published.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.layout.blob(digest).is_file()
    }

    /// Removes a blob's bytes. Its links must be gone first (law 2), or the bytes be damaged.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(&path)(error)),
            _ => {
                // Empty folders are not left behind; one that is not empty stays, by the kernel's own rule.
                let _ = path.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }

    /// Sets `bytes` aside on this filesystem.
    ///
    /// # Errors
    /// [`Short`], when they do not fit.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Short> {
        Arc::clone(&self.ledger).reserve(bytes)
    }

    /// Makes an empty staged file within a reservation (law 6).
    ///
    /// # Errors
    /// [`Error::Full`] when the filesystem has no room after all.
    pub fn stage(&self, reservation: Reservation) -> Result<Staged, Error> {
        Staged::create(&self.layout.staging(), reservation)
    }

    /// Publishes a staged file, all of whose bytes hash to `digest`, under that digest. Where another one was published
    /// first, that one stays and the staged one goes.
    ///
    /// # Errors
    /// When the rename or, where asked for, a sync fails; the staged file is gone then.
    pub fn publish(&self, staged: Staged, digest: &Digest, durability: Durability) -> Result<Stored, Error> {
        let path = self.layout.blob(digest);
        staged.publish(&path, durability)?;
        Stored::open(&path).map_err(Error::at(&path))
    }

    /// The links of one repository.
    #[must_use]
    pub fn links(&self, repository: &Repository) -> RepositoryLinks {
        RepositoryLinks::new(self.layout.repository(repository))
    }

    /// Every repository that has a folder here, hosted ones last. One that cannot be read is passed over.
    pub fn repositories(&self) -> impl Iterator<Item = Repository> {
        self.layout.repositories()
    }
}
