//! Damaged bytes of what was pushed, set aside: until right ones take their place, somebody can look at them.

use std::fs;

use super::{Durability, Error, Published, Storage, Stored, atomic_fs, layout, look};
use crate::oci::Digest;

impl Storage {
    /// Sets damaged bytes aside, so that right ones can take their place and somebody can look at them.
    ///
    /// # Errors
    /// When they cannot be moved.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), Error> {
        let blob = self.layout.blob(digest);
        self.names.set_aside(&blob, &layout::aside(&self.homes.quarantine(&blob)?, digest))?;
        self.forget_syncs(digest);
        Ok(())
    }

    /// The blobs whose damaged bytes are set aside, in no order.
    pub fn quarantined(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        let all: Vec<_> = self.homes.all_quarantine().collect();
        all.into_iter().flat_map(|quarantine| layout::set_aside(&quarantine))
    }

    /// Whether damaged bytes of a blob are set aside.
    ///
    /// # Errors
    /// When that cannot be known.
    pub fn is_quarantined(&self, digest: &Digest) -> Result<bool, Error> {
        for quarantine in self.homes.all_quarantine() {
            if look::is_there(&layout::aside(&quarantine, digest))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens what of a blob is set aside; `None` when nothing is.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub fn aside(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        for quarantine in self.homes.all_quarantine() {
            let path = layout::aside(&quarantine, digest);
            if let Some(stored) = look::found(&path, Stored::open(&path))? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Publishes what of a blob is set aside, all of which hashes to its digest, durably. `None` when nothing is, or when
    /// another file has been published.
    ///
    /// # Errors
    /// When a sync or the rename fails.
    pub fn take_back(&self, digest: &Digest) -> Result<Option<Published>, Error> {
        let blob = self.layout.blob(digest);
        for quarantine in self.homes.all_quarantine() {
            let aside = layout::aside(&quarantine, digest);
            let Some(stored) = look::found(&aside, Stored::open(&aside))? else { continue };
            atomic_fs::sync(&stored.file, &aside)?;
            let first = self.names.rename(&aside, &blob, Durability::Synced)?;
            return Ok(first.then_some(Published { stored, first, reservation: None }));
        }
        Ok(None)
    }

    /// Removes the damaged bytes of a blob that is whole again, or nobody's any more.
    ///
    /// # Errors
    /// When they are there and cannot be removed.
    pub fn release(&self, digest: &Digest) -> Result<(), Error> {
        self.homes.all_quarantine().try_for_each(|quarantine| {
            let path = layout::aside(&quarantine, digest);
            look::found(&path, fs::remove_file(&path)).map(drop)
        })
    }
}
