//! The preallocation for an upload session's file while it is written. Its final length is not known, so space is
//! allocated in steps.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    BlobFile, Error, Purpose, Reservation,
    accounts::Charge,
    atomic_fs::{Directory, signed},
    blocks::{blocks, take_blocks},
    usage::allocated,
};
use crate::lanes::Blocking;

/// The sessions that are being written to, by one writer each, with the bytes that their files occupied before. Their
/// growth is charged to a reservation.
#[derive(Debug, Default)]
pub(super) struct UploadAllocations(Mutex<HashMap<PathBuf, u64>>);

impl UploadAllocations {
    /// Returns the bytes that a scan counts for a session's file.
    pub(super) fn settled(&self, path: &Path) -> u64 {
        self.0.lock().get(path).copied().unwrap_or_else(|| allocated(path))
    }
}

/// The allocated space of a growing file. Dropping it frees the unused part, and charges the file with its final size.
#[derive(Debug)]
pub struct UploadAllocation {
    path: PathBuf,
    file: Arc<BlobFile>,
    allocations: Arc<UploadAllocations>,
    names: Arc<Directory>,
    room: Mutex<AllocatedSpace>,
}

#[derive(Debug)]
struct AllocatedSpace {
    /// The end of the allocated space, as an offset.
    until: u64,
    reservation: Option<Reservation>,
    over: bool,
}

impl UploadAllocation {
    /// Returns `None` if the file has an allocation already: its end truncates the file, which must not be written to
    /// by then.
    pub(super) fn begin(
        path: &Path,
        file: Arc<BlobFile>,
        written: u64,
        names: Arc<Directory>,
        allocations: Arc<UploadAllocations>,
    ) -> Option<Self> {
        {
            let _lock = names.regions.lock(names.regions.of(path));
            match allocations.0.lock().entry(path.to_owned()) {
                Entry::Occupied(_) => return None,
                Entry::Vacant(place) => place.insert(allocated(path)),
            };
        }
        let room = AllocatedSpace { until: written, reservation: None, over: false };
        Some(Self { path: path.to_owned(), file, allocations, names, room: Mutex::new(room) })
    }

    /// Returns the offset up to which bytes may be written.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.room.lock().until
    }

    /// Allocates `bytes` more, within a reservation of the same size.
    ///
    /// # Errors
    /// [`Error::Full`] if the filesystem has no room in spite of the reservation.
    pub fn grow(&self, _io: &Blocking, mut reservation: Reservation, bytes: u64) -> Result<(), Error> {
        let mut room = self.room.lock();
        let before = blocks(self.file.file());
        if take_blocks(self.file.file(), room.until, bytes).map_err(Error::at(&self.path))? {
            reservation.settle(u64::MAX, blocks(self.file.file()).saturating_sub(before));
        }
        room.until += bytes;
        match &mut room.reservation {
            Some(held) => held.absorb(reservation),
            none => *none = Some(reservation),
        }
        Ok(())
    }

    /// Reserves and allocates what is missing for bytes up to the offset `end`. Frees no space for them.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room.
    pub(super) fn cover(&self, io: &Blocking, end: u64) -> Result<(), Error> {
        let missing = end.saturating_sub(self.until());
        if missing == 0 {
            return Ok(());
        }
        let reserved = Arc::clone(&self.names.ledger).reserve(Purpose::Hosted, missing);
        self.grow(io, reserved.map_err(|_| Error::Full(self.path.clone()))?, missing)
    }

    /// Frees the unused part. No write may follow.
    pub fn end(&self, _io: &Blocking) {
        let mut room = self.room.lock();
        if std::mem::replace(&mut room.over, true) {
            return;
        }
        let region = self.names.regions.of(&self.path);
        let _lock = self.names.regions.lock(region);
        if let Ok(meta) = self.file.file().metadata() {
            // Truncating a file to its current length frees the blocks beyond it.
            let _ = self.file.file().set_len(meta.len());
        }
        let before = self.allocations.0.lock().remove(&self.path).unwrap_or_default();
        let sessions = signed(blocks(self.file.file())) - signed(before);
        self.names.ledger.charge(region, Charge { links: 0, sessions });
        room.reservation = None;
    }
}

impl Drop for UploadAllocation {
    fn drop(&mut self) {
        self.end(&Blocking::inline("a drop cannot wait for a lane; it gives back blocks that were never written"));
    }
}
