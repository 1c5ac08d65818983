//! The lock that admits one process to a volume.

use std::{fs::File, path::Path};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{Error, look};

/// Held while the value lives; the kernel releases it when the process dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file is what lets go")] File);

impl Lock {
    /// Takes the lock, waiting for a process that is about to exit.
    pub(super) fn acquire(path: &Path) -> Result<Self, Error> {
        let open = File::options().write(true).create(true).truncate(false).open(path);
        let file = open.map_err(Error::at(path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            tracing::info!("waiting for the process that holds {} to end", path.display());
            flock(&file, FlockOperation::LockExclusive).map_err(|errno| Error::at(path)(errno.into()))?;
        }
        Ok(Self(file))
    }

    /// Returns whether a process holds it.
    pub(super) fn is_held(path: &Path) -> Result<bool, Error> {
        let Some(file) = look::found(path, File::options().write(true).open(path))? else { return Ok(false) };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(true),
            taken => taken.map(|()| false).map_err(|errno| Error::at(path)(errno.into())),
        }
    }
}
