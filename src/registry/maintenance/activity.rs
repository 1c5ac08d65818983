//! The activity of the cache over time.

use std::time::SystemTime;

use crate::{
    index::{Activity, Period},
    lanes::Blocking,
    registry::Registry,
};

impl Registry {
    /// Records the activity since the last call; to be called about every minute, and at the end. Blocks.
    ///
    /// While the disk usage is being counted, nothing is recorded; a later call catches up.
    pub fn record_activity(&self, io: &Blocking) {
        let usage = self.usage(io);
        if usage.known {
            let index = &self.store.volume.index;
            self.activity.record(index, self.metrics.cache_totals(), &usage, SystemTime::now());
        }
    }

    /// Returns the activity of the period that ends now, oldest slot first, each with its start. Times without a
    /// record, since the server did not run, are missing.
    #[must_use]
    pub fn activity(&self, period: Period) -> Vec<(SystemTime, Activity)> {
        self.store.volume.index.activity(period, SystemTime::now())
    }
}
