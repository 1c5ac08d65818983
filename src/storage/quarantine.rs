//! The quarantine: damaged bytes of pushed blobs, kept for inspection until they are replaced by right ones.

use std::{fs, io};

use super::{
    Disk, Durability, Error, Stored,
    atomic_fs::{self, Renamed},
    layout, look,
};
use crate::oci::Digest;

impl<'a> Disk<'a> {
    /// Moves the damaged bytes of a blob to the quarantine, so that its name is free for right ones.
    ///
    /// # Errors
    /// Any variant of [`Error`] if they cannot be moved.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), Error> {
        let blob = self.layout.blob(digest);
        self.names.set_aside(&blob, &layout::aside(&self.mount_roots.quarantine(&blob)?, digest))?;
        self.forget_syncs(digest);
        Ok(())
    }

    /// Returns the blobs in the quarantine, in no order.
    pub fn quarantined(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<'a> {
        let all: Vec<_> = self.mount_roots.all_quarantine().collect();
        all.into_iter().flat_map(|quarantine| layout::set_aside(&quarantine))
    }

    /// Returns whether a blob is in the quarantine.
    ///
    /// # Errors
    /// Any variant of [`Error`] if that cannot be determined.
    pub fn is_quarantined(&self, digest: &Digest) -> Result<bool, Error> {
        for quarantine in self.mount_roots.all_quarantine() {
            if look::is_there(&layout::aside(&quarantine, digest))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the quarantined file of a blob; `None` if there is none.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be opened.
    pub fn aside(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        for quarantine in self.mount_roots.all_quarantine() {
            let path = layout::aside(&quarantine, digest);
            if let Some(stored) = look::found(&path, Stored::open(&path))? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Converts the error of a read of a quarantined file.
    #[must_use]
    pub fn unread_aside(&self, digest: &Digest, error: io::Error) -> Error {
        let blob = self.layout.blob(digest);
        let path = self.mount_roots.quarantine(&blob).map_or(blob, |quarantine| layout::aside(&quarantine, digest));
        Error::at(&path)(error)
    }

    /// Publishes the quarantined file of a blob, which hashes to its digest after all, durably. `None` if there is
    /// none, or if another file is published.
    ///
    /// # Errors
    /// Any variant of [`Error`] if a sync or the rename fails.
    pub fn take_back(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let blob = self.layout.blob(digest);
        for quarantine in self.mount_roots.all_quarantine() {
            let aside = layout::aside(&quarantine, digest);
            let Some(stored) = look::found(&aside, Stored::open(&aside))? else { continue };
            atomic_fs::sync(stored.file.file(), &aside)?;
            let renamed = self.names.rename(&aside, &blob, Durability::Synced)?;
            return Ok((renamed == Renamed::Done(())).then_some(stored));
        }
        Ok(None)
    }

    /// Removes the quarantined file of a blob that was replaced, or that no repository needs any more.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it exists and cannot be removed.
    pub fn release(&self, digest: &Digest) -> Result<(), Error> {
        self.mount_roots.all_quarantine().try_for_each(|quarantine| {
            let path = layout::aside(&quarantine, digest);
            look::found(&path, fs::remove_file(&path)).map(drop)
        })
    }
}
