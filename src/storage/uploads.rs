//! Upload sessions on disk, in the format of `registry:2`, so that either program can finish a session of the other.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    BlobFile, Durability, Error, FileWriter, MountRoots, Purpose, Reservation, Staged, Storage,
    atomic_fs::{self, Directory, Renamed},
    look,
    upload_allocation::UploadAllocation,
    usage::allocated,
};
use crate::{lanes::Blocking, oci::UploadId};

/// The upload sessions of one repository.
#[derive(Debug)]
pub struct Uploads<'a> {
    dir: PathBuf,
    storage: &'a Storage,
    io: &'a Blocking,
}

/// The folder of one session.
#[derive(Debug)]
pub struct Upload<'a> {
    dir: PathBuf,
    storage: &'a Storage,
    _io: &'a Blocking,
}

/// The open file of an upload session. The rules allocate its space ahead of the bytes; what they did not is reserved
/// as the bytes are appended.
#[derive(Debug)]
pub struct UploadFile {
    /// The writer of its bytes.
    pub writer: FileWriter,
    /// The space that the bytes may take.
    pub allocation: Arc<UploadAllocation>,
}

/// The result of opening a session for writing.
#[derive(Debug)]
pub enum Opened<W = UploadFile> {
    /// It is open for writing, exclusively.
    Writable(W),
    /// Another request is writing to it, or its last write has not ended.
    Busy,
    /// The session does not exist any more.
    Gone,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(dir: PathBuf, storage: &'a Storage, io: &'a Blocking) -> Self {
        Self { dir, storage, io }
    }

    /// Creates a session. `started` is RFC 3339, in seconds, the format of `registry:2`.
    ///
    /// # Errors
    /// Any variant of [`Error`] if its files cannot be made.
    pub fn begin(&self, id: UploadId, started: &str) -> Result<Upload<'a>, Error> {
        let upload = self.named(id);
        self.storage.names.write(&upload.dir.join("startedat"), started, Durability::Unsynced)?;
        File::create_new(upload.data()).map_err(Error::at(&upload.dir))?;
        Ok(upload)
    }

    /// Returns a session, which may or may not exist.
    #[must_use]
    pub fn named(&self, id: UploadId) -> Upload<'a> {
        Upload { dir: self.dir.join(id.to_string()), storage: self.storage, _io: self.io }
    }

    /// Returns every session with the time of its last write.
    pub fn all(self) -> impl Iterator<Item = Result<(UploadId, SystemTime), Error>> + use<'a> {
        let ids = look::folders(&self.dir, |name| name.parse().ok());
        ids.filter_map(move |id: Result<UploadId, Error>| {
            id.and_then(|id| Ok(self.named(id).last_activity()?.map(|last| (id, last)))).transpose()
        })
    }
}

impl Upload<'_> {
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Returns how many bytes it has received; `None` if there is no such session.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn received(&self) -> Result<Option<u64>, Error> {
        if !look::is_folder(&self.dir)? {
            return Ok(None);
        }
        // registry:2 makes the data file with the first byte.
        Ok(Some(look::metadata(&self.data())?.map_or(0, |found| found.len())))
    }

    /// Opens its file for writing from `written` on, up to the end of the allocation. Bytes beyond `written` were never
    /// acknowledged, and are cut off.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be opened.
    pub fn writer(&self, written: u64) -> Result<Opened, Error> {
        let path = self.data();
        // registry:2 makes the file with the first byte. Creating it later would make a hole at its start.
        let opened = File::options().read(true).write(true).create(written == 0).truncate(false).open(&path);
        let Some(file) = look::found(&path, opened)? else { return Ok(Opened::Gone) };
        let (names, allocations) = (Arc::clone(&self.storage.names), Arc::clone(&self.storage.allocations));
        let file = Arc::new(BlobFile::new(file));
        // Taken before the truncation, which would cut off the bytes of a concurrent writer.
        let begun = UploadAllocation::begin(&path, Arc::clone(&file), written, names, allocations);
        let Some(allocation) = begun else { return Ok(Opened::Busy) };
        let length = file.file().metadata().map_err(Error::at(&path))?.len();
        if length < written {
            return Ok(Opened::Gone);
        }
        if length > written {
            file.file().set_len(written).map_err(Error::at(&path))?;
        }
        let allocation = Arc::new(allocation);
        let writer = FileWriter::allocations(path, file, Arc::clone(&allocation));
        Ok(Opened::Writable(UploadFile { writer, allocation }))
    }

    /// Converts the error of a read of its bytes.
    #[must_use]
    pub fn unread(&self, error: std::io::Error) -> Error {
        Error::at(&self.data())(error)
    }

    /// Opens the received bytes for reading.
    ///
    /// # Errors
    /// Any variant of [`Error`] if they cannot be opened.
    pub fn read(&self) -> Result<BlobFile, Error> {
        File::open(self.data()).map(BlobFile::new).map_err(Error::at(&self.dir))
    }

    /// Removes the session and its bytes.
    ///
    /// # Errors
    /// Any variant of [`Error`] if its files cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        // The bytes first: they are charged as a session's, the folder as any other.
        drop(self.storage.names.take_data(&self.data())?);
        self.storage.names.remove(&self.dir, Durability::Unsynced)
    }

    /// Returns the time of its last write, or of its creation before the first; `None` if there is no such session.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn last_activity(&self) -> Result<Option<SystemTime>, Error> {
        let last = match look::metadata(&self.data())? {
            None => look::metadata(&self.dir)?,
            written => written,
        };
        last.map(|found| found.modified().map_err(Error::at(&self.dir))).transpose()
    }

    /// Publishes the bytes. Returns a reservation for those that the file occupies, to be dropped after the published
    /// file is counted.
    pub(super) fn publish(&self, to: &Path, staging: &Path) -> Result<Renamed<Option<Reservation>>, Error> {
        let data = self.data();
        if !MountRoots::are_on_one_mount(&data, to)? {
            return self.copy(to, staging);
        }
        // Made before the first sync: a filesystem with a journal then writes the folder's name together with the
        // bytes.
        self.storage.names.make_parent(to, Durability::Unsynced)?;
        atomic_fs::sync(&File::open(&data).map_err(Error::at(&data))?, &data)?;
        let renamed = self.storage.names.rename(&data, to, Durability::Synced)?;
        Ok(renamed.map(|()| Some(self.storage.names.session_became(&data, allocated(to)))))
    }

    /// As [`Upload::publish`], to another mount.
    fn copy(&self, to: &Path, staging: &Path) -> Result<Renamed<Option<Reservation>>, Error> {
        let data = self.data();
        let mut file = File::open(&data).map_err(Error::at(&data))?;
        let size = file.metadata().map_err(Error::at(&data))?.len();
        let room = Arc::clone(&self.storage.names.ledger).reserve(Purpose::Hosted, size);
        let staged = Staged::create(staging, room.map_err(|_| Error::Full(staging.to_owned()))?, size)?;
        io::copy(&mut file, &mut staged.file().file()).map_err(Error::at(staging))?;
        let renamed = staged.publish(&self.storage.names, to, Durability::Synced)?;
        if let Renamed::Done(_) = renamed {
            drop(self.storage.names.take_data(&data)?);
        }
        Ok(renamed)
    }
}

impl Directory {
    /// Removes a session's data file, and returns its bytes as a reservation.
    fn take_data(&self, data: &Path) -> Result<Option<Reservation>, Error> {
        let bytes = allocated(data);
        let removed = look::found(data, fs::remove_file(data))?;
        Ok(removed.map(|()| self.session_became(data, bytes)))
    }

    /// Moves the bytes of a session's file to a new reservation.
    fn session_became(&self, data: &Path, bytes: u64) -> Reservation {
        let region = self.regions.of(data);
        let _lock = self.regions.lock(region);
        Arc::clone(&self.ledger).take_session(region, bytes)
    }
}
