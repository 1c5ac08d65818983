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
mod uploads;

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
pub use staged::{Sink, Staged};
pub use uploads::{Upload, Uploads};

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
                path.parent().map(publish::remove_empty);
                Ok(())
            }
        }
    }

    /// Makes a published blob durable that was published without: its bytes, its name and the folders above it.
    ///
    /// # Errors
    /// When it is not there, or a sync fails.
    pub fn make_durable(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::at(&path))?;
        publish::sync_names(&path)
    }

    /// Sets damaged bytes aside, so that right ones can take their place and somebody can look at them.
    ///
    /// # Errors
    /// When they cannot be moved.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), Error> {
        publish::set_aside(&self.layout.blob(digest), &self.layout.quarantine(digest))
    }

    /// Whether this is the volume of a `registry:2` that was a pull-through cache.
    #[must_use]
    pub fn is_proxy_volume(&self) -> bool {
        self.layout.proxy_state().is_file()
    }

    /// Remembers that it was adopted: what `registry:2` pushes to it from now on is its own.
    ///
    /// # Errors
    /// When its state file cannot be set aside.
    pub fn end_proxy_volume(&self) -> Result<(), Error> {
        let state = self.layout.proxy_state();
        publish::set_aside(&state, &state.with_extension("json.adopted"))
    }

    /// The upload sessions of one repository.
    #[must_use]
    pub fn uploads(&self, repository: &Repository) -> Uploads {
        Uploads::new(layout::uploads(&self.layout.repository(repository)))
    }

    /// Publishes what an upload session received, all of which hashes to `digest`, synced. `false` when another file was
    /// published first: that one stays, and the session's bytes stay where they are.
    ///
    /// # Errors
    /// When a sync or the rename fails; the session is as it was.
    pub fn publish_upload(&self, upload: &Upload, digest: &Digest) -> Result<bool, Error> {
        upload.publish(&self.layout.blob(digest))
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
    /// first, that one stays and the staged one goes: then the flag is `false`.
    ///
    /// # Errors
    /// When the rename or, where asked for, a sync fails; the staged file is gone then.
    pub fn publish(&self, staged: Staged, digest: &Digest, durability: Durability) -> Result<(Stored, bool), Error> {
        let path = self.layout.blob(digest);
        let first = staged.publish(&path, durability)?;
        Ok((Stored::open(&path).map_err(Error::at(&path))?, first))
    }

    /// The links of one repository.
    #[must_use]
    pub fn links(&self, repository: &Repository) -> RepositoryLinks {
        RepositoryLinks::new(self.layout.repository(repository))
    }

    /// Every published blob with its length in bytes, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        self.layout.blobs().filter_map(|digest| Some((digest, fs::metadata(self.layout.blob(&digest)).ok()?.len())))
    }

    /// Whether a process has the directory `root` open.
    #[must_use]
    pub fn is_in_use(root: &Path) -> bool {
        Lock::is_held(&Layout::new(root).lock())
    }

    /// Every repository that has a folder here, hosted ones last. One that cannot be read is passed over.
    pub fn repositories(&self) -> impl Iterator<Item = Repository> {
        self.layout.repositories()
    }
}
