//! The periodic work of a registry. `cli` schedules it and chooses the threads.

use std::time::{Duration, SystemTime};

use crate::{
    lanes::Blocking,
    registry::{Registry, eviction_rules::Lifetimes},
    storage::Usage,
};

impl Registry {
    /// Drops expired state in memory, saves what is kept of uses and pulls when that is due, and records activity; to
    /// be called about every minute. Blocks.
    pub fn tidy(&self, io: &Blocking) {
        self.store.space.tidy();
        self.store.protection.tidy(self.store.space.eviction_rules.lease);
        self.rebuilds.saved_uses.save_if_due(&self.store.with(io));
        self.store.with(io).save_pull_record_if_due(SystemTime::now());
        self.record_activity(io);
        self.usage_snapshots.tidy();
    }

    /// Writes accesses to the index, keeps the disk usage within its limits, and reopens an index that failed; to be
    /// called about every second. Blocks.
    pub fn maintain(&self, io: &Blocking) {
        let store = self.store.with(io);
        // Errors of rebuilds are logged where they occur.
        if store.index.has_failed() {
            let _ = self.rebuilds.reopen_index(&store);
        }
        let _ = self.rebuilds.rebuild_if_due(&store);
        store.flush_accesses();
        store.remove_purged();
        store.free_overdraft();
    }

    /// Removes content that was not accessed for its upstream's `ttl`; to be called now and then. Blocks.
    pub fn expire(&self, io: &Blocking) {
        self.store.with(io).expire(&self.lifetimes());
    }

    /// Returns the shortest time without a request after which content is removed; `None` if nothing is.
    #[must_use]
    pub fn shortest_lifetime(&self) -> Option<Duration> {
        self.lifetimes().shortest()
    }

    fn lifetimes(&self) -> Lifetimes {
        let upstreams = self.upstreams.all();
        let by_domain = upstreams.iter().map(|(domain, upstream)| (domain.clone(), upstream.ttl())).collect();
        Lifetimes { by_domain, other: self.store.space.eviction_rules.ttl }
    }

    /// Opens the index and updates it from the disk: with everything after an unclean shutdown or for a new index,
    /// otherwise with the hosted repositories, since another program may have used the volume. Blocks until it is done.
    pub fn open_index(&self, io: &Blocking) {
        let _ = self.rebuilds.open_index(&self.store.with(io));
    }

    /// Returns whether the volume has never stored anything.
    #[must_use]
    pub fn is_new(&self, io: &Blocking) -> bool {
        self.store.with(io).disk.is_new()
    }

    /// Returns the disk usage and its limits.
    #[must_use]
    pub fn usage(&self, io: &Blocking) -> Usage {
        self.store.with(io).disk.usage()
    }
}
