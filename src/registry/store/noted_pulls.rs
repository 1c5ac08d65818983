//! Notes the pulls of hosted tags and manifests on the disk, for retention: after the pull, which does not wait for it.
//! The notes are beside the links (`storage/pull_notes.rs`), so the loss of an index loses none.
//!
//! A HEAD counts as a pull: clients send it by tag, and get nothing more if they have the manifest.

use std::time::{Duration, SystemTime};

use super::{
    blob_store::{BlobStore, BlockingStore},
    pull_notes::NOTE_INTERVAL,
};
use crate::{
    lanes::Lane,
    oci::{Reference, Repository},
    storage::{DurableStore, PullRecord},
};

/// The pause after a note that could not be written.
const RETRY_INTERVAL: Duration = Duration::from_mins(5);
/// The interval of saving the record. A longer one than its longest gap would end it at each kill.
const SAVE_INTERVAL: Duration = Duration::from_hours(1);

impl BlobStore {
    /// Notes in the background that a tag or manifest of a hosted repository was pulled, unless it is noted already.
    pub(in crate::registry) fn note_pull(&self, repository: &Repository, pulled: &Reference) {
        let key = self.pull_notes.key(repository, pulled);
        if self.pull_notes.is_due(key, SystemTime::now()) && self.pull_notes.queue((repository.clone(), pulled.clone()))
        {
            let store = self.clone();
            // One thread at a time, since pushes need the others. A stop waits for one note, not for all.
            drop(self.execution.lanes().start(Lane::Sync, move |io| {
                while let Some(_open) = store.execution.while_open()
                    && let Some((repository, pulled)) = store.pull_notes.next()
                {
                    store.with(io).write_pull_note(&repository, &pulled, SystemTime::now());
                }
            }));
        }
    }
}

impl BlockingStore<'_> {
    /// Writes a note, unless one on the disk is younger than the interval.
    fn write_pull_note(&self, repository: &Repository, pulled: &Reference, now: SystemTime) {
        let notes = &self.pull_notes;
        let key = notes.key(repository, pulled);
        // Whoever removes a tag holds it, so no note is made for a tag that is being removed.
        let _lock = self.protection.locks.repository(repository);
        let before = self.disk.noted_pull(repository, pulled).ok().flatten();
        let is_recent = |noted: &SystemTime| now.duration_since(*noted).is_ok_and(|passed| passed < NOTE_INTERVAL);
        if let Some(noted) = before.filter(is_recent) {
            notes.due.insert(key, noted + NOTE_INTERVAL);
        } else if let Err(error) = self.disk.note_pull(repository, pulled, now) {
            tracing::warn!(%repository, %pulled, %error, "pull not noted; retention counts every last pull from now");
            notes.due.insert(key, now + RETRY_INTERVAL);
            notes.lost(now);
        }
    }

    /// Saves the time in which every pull was noted, if that is due; the first call of a server continues the record of
    /// the last one.
    pub(in crate::registry) fn save_pull_record_if_due(&self, now: SystemTime) {
        let is_recent = |saved: SystemTime| now.duration_since(saved).is_ok_and(|passed| passed < SAVE_INTERVAL);
        if !self.pull_notes.record.lock().saved.is_some_and(is_recent) {
            self.save_pull_record(now);
        }
    }

    /// Saves the record.
    pub(in crate::registry) fn save_pull_record(&self, now: SystemTime) {
        let since = self.pulls_noted_since(now);
        let mut record = self.pull_notes.record.lock();
        let since = *record.since.get_or_insert(since);
        match self.disk.save_pull_record(PullRecord { since, until: now }) {
            Ok(()) => record.saved = Some(now),
            Err(error) => tracing::warn!(%error, "time in which pulls are noted not saved"),
        }
    }

    /// Returns the time since which every pull was noted: `now` if that is not known. A pull before it may have gone
    /// without a note.
    pub(in crate::registry) fn pulls_noted_since(&self, now: SystemTime) -> SystemTime {
        let known = self.pull_notes.record.lock().since;
        known.unwrap_or_else(|| {
            let last = self.disk.pull_record().unwrap_or_else(|error| {
                tracing::warn!(%error, "every last pull counts from now");
                None
            });
            PullRecord::continued(last, now).since
        })
    }
}
