//! Files on their way in: written under a name of their own, within a reservation, gone when dropped.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{Durability, Error, Reservation, publish};

/// A file that is being written.
#[derive(Clone, Debug)]
pub struct Sink {
    path: PathBuf,
    file: Arc<File>,
}

impl Sink {
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self { path, file: Arc::new(file) }
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room; what was written before stays readable.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(Error::at(&self.path))
    }
}

/// A file nobody else can see by name. Written once, front to back; its written part never changes, so it may be read
/// through a clone of [`Staged::file`] while it grows.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: Arc<File>,
    reservation: Reservation,
}

impl Staged {
    pub(super) fn create(staging: &Path, reservation: Reservation) -> Result<Self, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = staging.join(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(Error::at(&path))?;
        let mut staged = Self { path, file: Arc::new(file), reservation };
        staged.preallocate()?;
        Ok(staged)
    }

    /// Takes the reserved blocks now, so that a full disk is met before the first byte. The length stays what was written.
    fn preallocate(&mut self) -> Result<(), Error> {
        let bytes = self.reservation.bytes();
        if bytes == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) => {
                self.reservation.settle();
                Ok(())
            }
            // A filesystem that cannot: writing will tell, and the reservation stands until then.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(Error::at(&self.path)(error.into())),
        }
    }

    /// The file, for readers that follow it.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Where to write its bytes.
    #[must_use]
    pub fn sink(&self) -> Sink {
        Sink { path: self.path.clone(), file: Arc::clone(&self.file) }
    }

    pub(super) fn publish(self, to: &Path, durability: Durability) -> Result<bool, Error> {
        if durability == Durability::Synced {
            self.file.sync_all().map_err(Error::at(&self.path))?;
        }
        publish::rename(&self.path, to, durability)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename that took it there is nothing at this name any more, and that is fine.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("a staged file stays until the next start: {}: {error}", self.path.display());
        }
    }
}

/// Removes what a killed process left. Called before anything is staged, under the volume's lock.
pub(super) fn sweep(staging: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(staging).map_err(Error::at(staging))?.filter_map(Result::ok) {
        let path = entry.path();
        fs::remove_file(&path).map_err(Error::at(&path))?;
        tracing::debug!("swept {}", path.display());
    }
    Ok(())
}
