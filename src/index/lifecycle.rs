//! How an index is opened, taken over and closed, and what it may then believe of itself.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::{
    Absent, Index, blob_entries::EvictionQueue, database::Database, keys, upstream_totals::UpstreamTotals, values,
};

/// How keys and values are written: an index that says something else is begun anew.
const FORMAT: &[u8] = b"3";

impl Index {
    /// The index in the folder `dir`, which is not looked at yet: until it is [resumed](Index::resume) it does not know, and
    /// takes no notes. However much is in it, nobody has to wait for that.
    #[must_use]
    pub fn begin(dir: &Path) -> Self {
        Self {
            database: Database::unopened(dir),
            queue: EvictionQueue::default(),
            board: UpstreamTotals::default(),
            epoch: AtomicU32::new(0),
            complete: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            was_complete: AtomicBool::new(false),
            totals: Mutex::new(None),
        }
    }

    /// Opens the index in the folder `dir`. One that is missing, damaged or of another version is begun anew and has to
    /// be [rebuilt](Index::is_complete).
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let index = Self::begin(dir);
        index.resume(|_| ());
        index
    }

    /// Opens it, once. Blocks for as long as the database needs. `take_over` is shown the [totals](Index::totals) before
    /// any holding changes again. A blob that came or went since the index was begun was not noted: then it counts as not
    /// complete, and has no totals.
    pub fn resume(&self, take_over: impl FnOnce(&[i64; 6])) {
        if !self.database.is_unopened() {
            return;
        }
        let found = self.database.open_aside();
        hold_to_format(&found);
        // A process that is killed takes the last half second of notes with it: only a clean stop leaves the mark.
        let was_complete = found.get(|trees| &trees.meta, keys::COMPLETE).is_some();
        let totals = found.get(|trees| &trees.meta, keys::TOTALS).filter(|_| was_complete);
        let totals = totals.and_then(|value| values::totals(&value));
        found.remove(|trees| &trees.meta, keys::COMPLETE);
        // Before anything in it can be believed.
        self.epoch.store(epoch(&found, was_complete), Ordering::Release);
        found.flush();
        self.resume_shares(&found, totals.is_some());
        let on_time = self.install(found, || {
            totals.as_ref().map(take_over);
            *self.totals.lock() = totals;
        });
        self.was_complete.store(was_complete && on_time, Ordering::Release);
        self.resume_queue();
    }

    /// What the ledger said when the index was last closed, if it knew everything.
    #[must_use]
    pub fn totals(&self) -> Option<[i64; 6]> {
        *self.totals.lock()
    }

    /// Opens the database again after it failed. It is behind then, and has to be [rebuilt](Index::is_complete).
    ///
    /// # Errors
    /// [`Absent`], when it cannot be had yet.
    pub fn reopen(&self) -> Result<(), Absent> {
        if self.database.is_unopened() {
            return Err(Absent::Failed);
        }
        self.complete.store(false, Ordering::Release);
        self.was_complete.store(false, Ordering::Release);
        let found = self.database.reopen()?;
        hold_to_format(&found);
        if found.has_failed() {
            found.close();
            return Err(Absent::Full);
        }
        self.install(found, || ());
        Ok(())
    }

    /// Whether there is no database, or none any more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.database.has_failed()
    }

    /// Whether it knew all that was on disk when it was last closed. What was pushed may have changed since all the same:
    /// another program may have had the volume.
    #[must_use]
    pub fn was_complete(&self) -> bool {
        self.was_complete.load(Ordering::Acquire)
    }

    /// Forgets everything, to be told anew.
    pub fn forget(&self) {
        self.complete.store(false, Ordering::Release);
        self.was_complete.store(false, Ordering::Release);
        self.database.wipe();
        self.database.put(|trees| &trees.meta, keys::FORMAT, FORMAT);
        self.resume_shares(&self.database, false);
    }

    /// Brings what was noted to disk; done at a clean stop, after which nothing more may be noted. Not needed for any
    /// answer to be right.
    ///
    /// `totals` is what the ledger says, where it knows; unless it is `quiet`, that may change, and the next start is one after
    /// a kill.
    pub fn close(&self, totals: Option<[i64; 6]>, quiet: bool) {
        self.database.flush();
        if quiet && self.is_complete() {
            self.save_shares();
            match totals {
                Some(totals) => self.database.put(|trees| &trees.meta, keys::TOTALS, &values::encode(&totals)),
                None => self.database.remove(|trees| &trees.meta, keys::TOTALS),
            }
            self.database.put(|trees| &trees.meta, keys::COMPLETE, &[]);
            self.database.flush();
        }
    }
}

/// What is written in another way is forgotten.
fn hold_to_format(database: &Database) {
    if database.get(|trees| &trees.meta, keys::FORMAT).is_none_or(|format| format != FORMAT) {
        database.wipe();
        database.put(|trees| &trees.meta, keys::FORMAT, FORMAT);
    }
}

/// Unsynced files may have lost bytes, and look as they did, when the machine went down under a process: what was known of
/// files is forgotten, and each is hashed again when it is first asked for. A process that is killed leaves its page cache.
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
