//! Staged files: written under a temporary name within a reservation, and removed when dropped.

use std::{
    fs::{self, File},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{Access, Mode, OFlags, access, open},
    io::{pwritev, retry_on_intr},
};

use super::blocks::{blocks, take_blocks};
use super::{
    BlobFile, Durability, Error, Reservation,
    atomic_fs::{self, Directory, Renamed},
    look,
    upload_allocation::UploadAllocation,
};
use crate::lanes::Blocking;

/// The most pieces of one system call (`IOV_MAX`).
const MAX_PIECES: usize = 1024;

/// Checks that files can be made in a staging folder, with an unnamed one. A full disk counts as success.
pub(super) fn check_writable(staging: &Path) -> Result<(), Error> {
    use rustix::io::Errno;
    let made = match open(staging, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        // The filesystem does not support `O_TMPFILE`.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => access(staging, Access::WRITE_OK | Access::EXEC_OK),
        Err(Errno::NOSPC | Errno::DQUOT) => Ok(()),
        made => made.map(drop),
    };
    made.map_err(|errno| Error::at(staging)(errno.into()))
}

/// The writing end of a staged file or an upload session.
#[derive(Clone, Debug)]
pub struct FileWriter {
    path: PathBuf,
    file: Arc<BlobFile>,
    /// Held while a writer exists: the unused allocation is cut off after that.
    allocation: Option<Arc<UploadAllocation>>,
}

impl FileWriter {
    pub(super) fn allocations(path: PathBuf, file: Arc<BlobFile>, allocation: Arc<UploadAllocation>) -> Self {
        Self { path, file, allocation: Some(allocation) }
    }

    /// Ends the writing and frees the allocation that was not used.
    pub fn end(&self, io: &Blocking) {
        self.allocation.iter().for_each(|allocation| allocation.end(io));
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room; the bytes written before stay readable.
    pub fn write_at(&self, _io: &Blocking, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file.file().write_all_at(bytes, offset).map_err(Error::at(&self.path))
    }

    /// Writes the beginning of `pieces` at `offset` by one system call, and returns the number of bytes written, which
    /// is not 0. The page cache keeps what is written at once in large pieces, which are cheaper to send.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room.
    pub fn write_pieces_at(&self, _io: &Blocking, pieces: &[IoSlice<'_>], offset: u64) -> Result<usize, Error> {
        let pieces = &pieces[..pieces.len().min(MAX_PIECES)];
        let written = match retry_on_intr(|| pwritev(self.file.file(), pieces, offset)) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written.map_err(io::Error::from),
        };
        written.map_err(Error::at(&self.path))
    }
}

/// A file that no other code opens by name. It is written once, from start to end, and its written part never changes,
/// so that it can be read through a clone of [`Staged::file`] while it grows.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: Arc<BlobFile>,
    reservation: Option<Reservation>,
}

impl Staged {
    /// The reservation covers `size` bytes of content and the cost of publishing them.
    pub(super) fn create(staging: &Path, reservation: Reservation, size: u64) -> Result<Self, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = staging.join(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(Error::at(&path))?;
        let mut staged = Self { path, file: Arc::new(BlobFile::new(file)), reservation: Some(reservation) };
        staged.preallocate(size)?;
        Ok(staged)
    }

    /// Allocates the blocks now, so that a full disk shows before the first byte. The file's length stays at the bytes
    /// written.
    fn preallocate(&mut self, size: u64) -> Result<(), Error> {
        if !take_blocks(self.file.file(), 0, size).map_err(Error::at(&self.path))? {
            return Ok(());
        }
        let taken = blocks(self.file.file());
        if let Some(reservation) = &mut self.reservation {
            reservation.settle(size.max(taken), taken);
        }
        Ok(())
    }

    /// Returns the file, for readers that follow the writer.
    #[must_use]
    pub fn file(&self) -> Arc<BlobFile> {
        Arc::clone(&self.file)
    }

    /// Returns a writer for its bytes.
    #[must_use]
    pub fn writer(&self) -> FileWriter {
        FileWriter { path: self.path.clone(), file: Arc::clone(&self.file), allocation: None }
    }

    /// Returns the reservation, which the caller drops after the published file is counted.
    pub(super) fn publish(
        mut self,
        names: &Directory,
        to: &Path,
        durability: Durability,
    ) -> Result<Renamed<Option<Reservation>>, Error> {
        if durability == Durability::Synced {
            atomic_fs::sync(self.file.file(), &self.path)?;
        }
        Ok(names.rename(&self.path, to, durability)?.map(|()| self.reservation.take()))
    }
}

impl Staged {
    fn discard(&self, _io: &Blocking) {
        // After a rename nothing has this name any more, which is no failure.
        if let Err(error) = atomic_fs::discard(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "staged file not removed; the next start removes it");
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.discard(&Blocking::inline("a drop cannot wait for a lane, and the space must be free when it returns"));
    }
}

/// Removes the staged files of a killed process. Called before any file is staged, under the volume's lock.
pub(super) fn sweep(staging: &Path) -> Result<(), Error> {
    for entry in look::entries(staging) {
        let path = entry?.path();
        fs::remove_file(&path).map_err(Error::at(&path))?;
        tracing::debug!(file = %path.display(), "removed a staged file of an earlier run");
    }
    Ok(())
}
