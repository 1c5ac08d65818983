//! Opens, reopens and closes the index, and decides which of its content is still valid.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::{
    Absent, Index, LedgerTotals, conversion, database::Database, eviction_queue::EvictionQueue, keys,
    upstream_totals::UpstreamTotals,
};

/// The version of the encoding. An index of an earlier one is converted (`conversion.rs`), any other is wiped.
const FORMAT: &[u8] = b"4";

/// The memory for the pages of an index that a command opens, in bytes.
const DEFAULT_MEMORY: u64 = 32 << 20;

/// The way in which the index is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing changes any more. The totals are the ledger's, if they are known.
    Quiet(Option<LedgerTotals>),
    /// Something may still change: the next start is treated like one after a kill.
    Busy,
}

impl Index {
    /// Creates the index of the folder `dir` without opening it. Until [`Index::open_files`] it answers "not known" and
    /// records nothing, so that a large index delays no request. Its pages take about `memory` bytes.
    #[must_use]
    pub fn unopened(dir: &Path, memory: u64) -> Self {
        Self {
            database: Database::unopened(dir, memory),
            queue: EvictionQueue::default(),
            upstream_totals: UpstreamTotals::default(),
            epoch: AtomicU32::new(0),
            complete: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            was_complete: AtomicBool::new(false),
            totals: Mutex::new(None),
        }
    }

    /// Opens the index in the folder `dir`. One that is missing, damaged or of another version starts empty and has to
    /// be [rebuilt](Index::is_complete).
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let index = Self::unopened(dir, DEFAULT_MEMORY);
        index.open_files(|_| ());
        index
    }

    /// Opens the database. Only the first call has an effect. Blocks for as long as the database needs. `take_over` is
    /// called with the [totals](Index::totals) before any entry changes again. A blob that came or went between
    /// [`Index::unopened`] and this call was not recorded: the index is incomplete then, and has no totals.
    pub fn open_files(&self, take_over: impl FnOnce(&LedgerTotals)) {
        if !self.database.is_unopened() {
            return;
        }
        let found = self.database.open_aside();
        check_format(&found);
        // A kill loses the last half second of writes, so only a clean stop writes this mark.
        let was_complete = found.get(|trees| &trees.meta, keys::COMPLETE).is_some();
        let totals = found.get(|trees| &trees.meta, keys::TOTALS).filter(|_| was_complete);
        let totals = totals.and_then(|value| LedgerTotals::decode(&value));
        found.remove(|trees| &trees.meta, keys::COMPLETE);
        // Stored before any entry can be read.
        self.epoch.store(epoch(&found, was_complete), Ordering::Release);
        found.flush();
        self.load_upstream_totals(&found, totals.is_some());
        let on_time = self.install(found, || {
            totals.as_ref().map(take_over);
            *self.totals.lock() = totals;
        });
        self.was_complete.store(was_complete && on_time, Ordering::Release);
        self.resume_queue();
    }

    /// Returns the ledger's totals at the last clean stop, if the index was complete.
    #[must_use]
    pub fn totals(&self) -> Option<LedgerTotals> {
        *self.totals.lock()
    }

    /// Opens the database again after it failed. It may be behind the disk, and has to be
    /// [rebuilt](Index::is_complete).
    ///
    /// # Errors
    /// [`Absent`] if it cannot be opened yet.
    pub fn reopen(&self) -> Result<(), Absent> {
        if self.database.is_unopened() {
            return Err(Absent::Failed);
        }
        self.complete.store(false, Ordering::Release);
        self.was_complete.store(false, Ordering::Release);
        let found = self.database.reopen()?;
        check_format(&found);
        if found.has_failed() {
            found.close();
            return Err(Absent::Full);
        }
        self.install(found, || ());
        Ok(())
    }

    /// Returns whether the database could not be opened, or has failed since.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.database.has_failed()
    }

    /// Returns whether the index knew everything on disk when it was closed. Hosted content may have changed since:
    /// another program may have used the volume.
    #[must_use]
    pub fn was_complete(&self) -> bool {
        self.was_complete.load(Ordering::Acquire)
    }

    /// Removes all entries, before the index is rebuilt.
    pub fn clear(&self) {
        self.complete.store(false, Ordering::Release);
        self.was_complete.store(false, Ordering::Release);
        self.database.wipe();
        self.database.put(|trees| &trees.meta, keys::FORMAT, FORMAT);
        self.load_upstream_totals(&self.database, false);
    }

    /// Flushes the index at a stop. No answer depends on this call.
    pub fn close(&self, closing: Closing) {
        self.database.flush();
        if let Closing::Quiet(totals) = closing
            && self.is_complete()
        {
            self.save_upstream_totals();
            match totals {
                Some(totals) => self.database.put(|trees| &trees.meta, keys::TOTALS, &totals.encode()),
                None => self.database.remove(|trees| &trees.meta, keys::TOTALS),
            }
            self.database.put(|trees| &trees.meta, keys::COMPLETE, &[]);
            self.database.flush();
        }
    }
}

/// Converts a database of an earlier [`FORMAT`], and wipes one of any other.
fn check_format(database: &Database) {
    let format = database.get(|trees| &trees.meta, keys::FORMAT);
    match format.as_deref() {
        Some(FORMAT) => return,
        Some(conversion::FORMAT_3) => {
            database.apply(conversion::from_3);
            database.put(|trees| &trees.meta, keys::HAS_USES, &[]);
        }
        _ => database.wipe(),
    }
    database.put(|trees| &trees.meta, keys::FORMAT, FORMAT);
    database.apply(conversion::remove_former_trees);
}

/// Returns the number of unclean ends of the machine. After one, unsynced files may have lost bytes and still look the
/// same. Entries of earlier epochs are ignored, and each file is hashed again at its first use. A killed process is
/// harmless: the page cache survives it.
fn epoch(database: &Database, was_complete: bool) -> u32 {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let same = database.get(|trees| &trees.meta, keys::BOOT).is_some_and(|before| before == boot);
    let before = database.get(|trees| &trees.meta, keys::EPOCH).and_then(|value| value.as_ref().try_into().ok());
    let before = before.map_or(0, u32::from_be_bytes);
    let epoch = if same || was_complete { before } else { before.wrapping_add(1) };
    database.put(|trees| &trees.meta, keys::EPOCH, &epoch.to_be_bytes());
    database.put(|trees| &trees.meta, keys::BOOT, &boot);
    epoch
}
