//! An upload session's file while it is being written to: nobody knows how long it will be, so room is taken in steps.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    Error, Reservation,
    atomic_fs::{Directory, signed},
    blocks::{blocks, take_blocks},
    ledger::Charge,
    usage::allocated,
};

/// Sessions that are being written to, by one writer each, with what their files occupied before: what they grow by is a
/// reservation's.
#[derive(Debug, Default)]
pub(super) struct UploadAllocations(Mutex<HashMap<PathBuf, u64>>);

impl UploadAllocations {
    /// What a survey counts of a session's file.
    pub(super) fn settled(&self, path: &Path) -> u64 {
        self.0.lock().get(path).copied().unwrap_or_else(|| allocated(path))
    }
}

/// Room for a file to grow. When it is dropped, what was taken and not written is given back, and the file charged as it is.
#[derive(Debug)]
pub struct UploadAllocation {
    path: PathBuf,
    file: Arc<File>,
    allocations: Arc<UploadAllocations>,
    names: Arc<Directory>,
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    /// Up to which offset there is room.
    until: u64,
    reservation: Option<Reservation>,
    over: bool,
}

impl UploadAllocation {
    /// `None` while the file has another: one ends by cutting the file to its length, which must not be on its way up.
    pub(super) fn begin(
        path: &Path,
        file: Arc<File>,
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
        let room = Room { until: written, reservation: None, over: false };
        Some(Self { path: path.to_owned(), file, allocations, names, room: Mutex::new(room) })
    }

    /// Up to which offset bytes may be written.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.room.lock().until
    }

    /// Takes the blocks for `bytes` more, within a reservation of as many.
    ///
    /// # Errors
    /// [`Error::Full`] when the filesystem has no room after all.
    pub fn grow(&self, mut reservation: Reservation, bytes: u64) -> Result<(), Error> {
        let mut room = self.room.lock();
        let before = blocks(&self.file);
        if take_blocks(&self.file, room.until, bytes).map_err(Error::at(&self.path))? {
            reservation.settle(u64::MAX, blocks(&self.file).saturating_sub(before));
        }
        room.until += bytes;
        match &mut room.reservation {
            Some(held) => held.absorb(reservation),
            none => *none = Some(reservation),
        }
        Ok(())
    }

    /// Gives back what was taken and not written. Nobody may write any more.
    pub fn end(&self) {
        let mut room = self.room.lock();
        if std::mem::replace(&mut room.over, true) {
            return;
        }
        let region = self.names.regions.of(&self.path);
        let _lock = self.names.regions.lock(region);
        if let Ok(meta) = self.file.metadata() {
            // Cutting a file to the length it has gives back what lies beyond.
            let _ = self.file.set_len(meta.len());
        }
        let before = self.allocations.0.lock().remove(&self.path).unwrap_or_default();
        let sessions = signed(blocks(&self.file)) - signed(before);
        self.names.ledger.charge(region, Charge { links: 0, sessions });
        room.reservation = None;
    }
}

impl Drop for UploadAllocation {
    fn drop(&mut self) {
        self.end();
    }
}
