//! The handle by which code that may block on the disk reads and writes a volume.

use std::{
    fs::{self, File},
    io,
    ops::Deref,
    path::Path,
    sync::Arc,
};

use super::{
    Durability, Error, InsufficientSpace, NewFile, Published, Purpose, RepositoryLinks, Reservation, Staged, Storage,
    Stored, Upload, Uploads, Usage,
    atomic_fs::{self, Renamed},
    layout, look,
    mount_roots::MountRoots,
    staged,
};
use crate::{
    descriptors::{self, DescriptorUse},
    lanes::Blocking,
    oci::{Digest, Repository},
};

/// A volume, on a thread that may block. Links and upload sessions that it returns cannot leave that thread either.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    storage: &'a Storage,
    io: &'a Blocking,
}

impl Deref for Disk<'_> {
    type Target = Storage;

    fn deref(&self) -> &Storage {
        self.storage
    }
}

impl<'a> Disk<'a> {
    pub(super) fn new(storage: &'a Storage, io: &'a Blocking) -> Self {
        Self { storage, io }
    }

    /// Returns the permission to block that it was made with.
    #[must_use]
    pub fn io(&self) -> &'a Blocking {
        self.io
    }

    /// Returns whether nothing was ever stored here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.layout.is_new()
    }

    /// Checks that files can be made here. A full disk counts as writable: eviction frees space.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the filesystem is read-only or failed, or the folder is gone.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.mount_roots.all_staging().try_for_each(|staging| staged::check_writable(&staging))
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

    /// As [`Disk::blob`], for a client: does not use the reserved file descriptors.
    ///
    /// # Errors
    /// As [`Disk::blob`]; also if only reserved descriptors are left.
    pub fn blob_for_client(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        match self.blob(digest)? {
            Some(stored) if descriptors::is_kept(stored.file.file(), DescriptorUse::File) => {
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
        let mut bytes = vec![0; usize::try_from(stored.stamp.size).unwrap_or(usize::MAX)];
        stored.file.read_exact_at(self.io, &mut bytes, 0).map_err(|error| self.unread(digest, error))?;
        Ok(bytes)
    }

    /// Syncs a blob that was published unsynced: its bytes, its name and the folders above it.
    ///
    /// # Errors
    /// [`Error::Unsynced`] if a sync fails or an earlier one of this file failed; another variant if it is not there.
    pub fn make_durable(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.layout.blob(digest);
        let stored = Stored::open(&path).map_err(Error::at(&path))?;
        let file = (*digest, stored.stamp.inode);
        if self.unsynced.lock().contains(&file) {
            return Err(Error::unsynced(&path)(io::Error::other("that was before: the disk needs a look")));
        }
        atomic_fs::sync(stored.file.file(), &path).inspect_err(|_| _ = self.unsynced.lock().insert(file))?;
        self.names.sync_names(&path)
    }

    /// Returns whether a sync of a published blob failed, so that it may not be on disk.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be looked at.
    pub fn is_unsynced(&self, digest: &Digest) -> Result<bool, Error> {
        let stored = self.blob(digest)?;
        Ok(stored.is_some_and(|stored| self.unsynced.lock().contains(&(*digest, stored.stamp.inode))))
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
    pub fn blobs_beginning(&self, first: u8) -> impl Iterator<Item = Result<Digest, Error>> + use<'a> {
        self.layout.blobs_beginning(first)
    }

    /// Returns the upload sessions of one repository.
    #[must_use]
    pub fn uploads(&self, repository: &Repository) -> Uploads<'a> {
        let dir = layout::uploads(&self.layout.repository(repository));
        Uploads::new(dir, self.storage, self.io)
    }

    /// Publishes the bytes of an upload session, which hash to `digest`, synced. If another file was published first,
    /// that one stays, and the session keeps its bytes.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a sync or the rename fails; the session is unchanged then.
    pub fn publish_upload(&self, upload: &Upload<'_>, digest: &Digest) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        match upload.publish(&path, &self.mount_roots.staging(&path)?)? {
            Renamed::Done(reservation) => self.published(&path, reservation),
            Renamed::Taken => Ok(Published::Existing),
        }
    }

    /// Reserves `bytes` on this volume.
    ///
    /// # Errors
    /// [`InsufficientSpace`] if they do not fit.
    pub fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, InsufficientSpace> {
        Arc::clone(&self.ledger).reserve(purpose, bytes)
    }

    /// Checks the size of a whole object alone, of which a part is reserved already.
    ///
    /// # Errors
    /// [`InsufficientSpace`] if it is more than an object may have (`storage.maxobject`).
    pub fn check_object(&self, purpose: Purpose, bytes: u64) -> Result<(), InsufficientSpace> {
        self.ledger.check_object(purpose, bytes)
    }

    /// Reserves `bytes` although they may not fit yet, so that no other request takes what is freed for them. Nothing
    /// may be written while there is an [overdraft](Disk::overdraft).
    #[must_use]
    pub fn reserve_ahead(&self, bytes: u64) -> Reservation {
        Arc::clone(&self.ledger).reserve_ahead(bytes)
    }

    /// Returns the used bytes and their bounds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// Returns by how much everything that is used and reserved exceeds its bound; `None` if it does not. Until all is
    /// counted, nothing is known to be within a bound on counted bytes.
    #[must_use]
    pub fn overdraft(&self, purpose: Purpose) -> Option<InsufficientSpace> {
        self.ledger.overdraft(purpose)
    }

    /// Returns how many bytes must be copied to publish an upload session: 0 if a rename suffices.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn to_copy(&self, upload: &Upload<'_>, digest: &Digest) -> Result<u64, Error> {
        match MountRoots::are_on_one_mount(&upload.data(), &self.layout.blob(digest))? {
            true => Ok(0),
            false => Ok(upload.received()?.unwrap_or(0)),
        }
    }

    /// Creates an empty staged file for the blob `digest` within a reservation, with room for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Full`] if the filesystem has no room in spite of the reservation.
    pub fn stage(&self, digest: &Digest, reservation: Reservation, size: u64) -> Result<Staged, Error> {
        Staged::create(&self.mount_roots.staging(&self.layout.blob(digest))?, reservation, size)
    }

    /// Publishes a staged file, whose bytes hash to `digest`. If another file was published first, that one stays and
    /// the staged one is removed.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the rename or a requested sync fails; the staged file is removed then.
    pub fn publish(&self, staged: Staged, digest: &Digest, durability: Durability) -> Result<Published, Error> {
        let path = self.layout.blob(digest);
        match staged.publish(&self.names, &path, durability)? {
            Renamed::Done(reservation) => self.published(&path, reservation),
            Renamed::Taken => Ok(Published::Existing),
        }
    }

    fn published(&self, path: &Path, reservation: Option<Reservation>) -> Result<Published, Error> {
        Ok(Published::New(NewFile { stored: Stored::open(path).map_err(Error::at(path))?, reservation }))
    }

    /// Returns the links of one repository.
    #[must_use]
    pub fn links(&self, repository: &Repository) -> RepositoryLinks<'a> {
        let home = self.layout.repositories_of(repository.domain.as_ref());
        RepositoryLinks::new(home, self.layout.repository(repository), &self.storage.names, self.io)
    }
}
