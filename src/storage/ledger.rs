//! Used and reserved bytes. Answers "short by n"; never evicts, never waits.
//!
//! The bound today is the filesystem itself: what it has free, less what is promised to staged files, less a headroom
//! that stays free for everybody else.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

/// Left free whatever comes: a filesystem filled to the brim breaks more than its filler.
const HEADROOM: u64 = 16 << 20;

/// What is promised on one filesystem.
#[derive(Debug)]
pub struct Ledger {
    root: PathBuf,
    /// Promised and not yet taken from the filesystem.
    reserved: Mutex<u64>,
}

/// The bytes do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no space left on device: short by {by} bytes")]
pub struct Short {
    /// How many bytes are missing.
    pub by: u64,
}

impl Ledger {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), reserved: Mutex::new(0) }
    }

    /// Sets `bytes` aside until the reservation is dropped.
    ///
    /// # Errors
    /// [`Short`], when they do not fit.
    pub fn reserve(self: Arc<Self>, bytes: u64) -> Result<Reservation, Short> {
        let mut reserved = self.reserved.lock();
        let wanted = reserved.saturating_add(bytes).saturating_add(HEADROOM);
        if let Some(by) = wanted.checked_sub(self.free()).filter(|by| *by > 0) {
            return Err(Short { by });
        }
        *reserved += bytes;
        drop(reserved);
        Ok(Reservation { bytes, ledger: self })
    }

    /// What the filesystem has for an unprivileged writer; plenty when it does not say, and the write will tell.
    fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.root).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
    }
}

/// Bytes set aside; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    ledger: Arc<Ledger>,
}

impl Reservation {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The filesystem has given the blocks: from here on they are missing from what it has free, and promised no more.
    pub(super) fn settle(&mut self) {
        *self.ledger.reserved.lock() -= std::mem::take(&mut self.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.ledger.reserved.lock() -= self.bytes;
    }
}
