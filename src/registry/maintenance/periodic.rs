//! What has to be done now and then, as values: the composition root decides when, and on which threads.

use crate::{
    registry::{Error, Registry, store::access_tracker},
    storage::Usage,
};

impl Registry {
    /// Work to repeat every minute or so: lets go of what is kept for a while only.
    pub fn tidy(&self) {
        self.store.partial_blobs.tidy();
        self.store.gc_guard.tidy();
        self.store.uncached.tidy();
        self.store.access_tracker.forget(access_tracker::now().saturating_sub(self.store.retention.lease.as_secs()));
        self.metrics.note_growth(&self.store.disk());
    }

    /// Work to repeat every second or so: tells the index what was asked for, keeps the disk within its bounds whoever
    /// fills it, and has an index again after it failed. Blocks.
    pub fn tend(&self) {
        // What a walk could not read is told where it is found.
        if self.store.index.has_failed() {
            let _ = self.store.reopen_index();
        }
        let _ = self.store.rebuild_if_due();
        self.store.tell_uses();
        let over = self.store.storage.ledger().overdraft();
        if over > 0 {
            self.store.free_space(over);
        }
    }

    /// Work to repeat now and then: lets go of what nobody asked for in `proxy.ttl`. Blocks.
    pub fn expire(&self) {
        self.store.expire();
    }

    /// Opens the index and tells it what it cannot know: all that is on disk, if it is new or its process was killed;
    /// what was pushed here, in any case, since another program may have had the volume. Blocks for as long as that
    /// takes.
    pub fn open_index(&self) {
        let _ = self.store.open_index();
    }

    /// Makes the index anew from what is on disk, while requests are answered from there. Blocks for as long as that
    /// takes.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        self.store.rebuild_index()
    }

    /// Whether nothing was ever stored here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.store.storage.is_new()
    }

    /// What is used, and what may be.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.store.storage.ledger().usage()
    }
}
