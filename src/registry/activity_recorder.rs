//! Turns totals that only grow into the activity between two records.

use std::time::SystemTime;

use parking_lot::Mutex;

use crate::{
    index::{Activity, Index},
    metrics::CacheTotals,
    storage::Usage,
};

/// The totals that are recorded already. The first record has everything since the process started.
#[derive(Debug, Default)]
pub(super) struct ActivityRecorder(Mutex<CacheTotals>);

impl ActivityRecorder {
    /// Records what was added to the totals since the last call.
    pub(super) fn record(&self, index: &Index, totals: CacheTotals, usage: &Usage, at: SystemTime) {
        let mut recorded = self.0.lock();
        let CacheTotals { answers, cached, served_bytes, fetched_bytes } = totals.since(*recorded);
        *recorded = totals;
        let new = Activity {
            answers,
            cached,
            served_bytes,
            fetched_bytes,
            mirrored_bytes: usage.mirrored.bytes(),
            hosted_bytes: usage.hosted.bytes(),
        };
        index.record_activity(at, new);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use tempfile::TempDir;

    use super::*;
    use crate::index::Period;

    #[test]
    fn each_record_has_what_was_added_since_the_last() {
        let dir = TempDir::new().unwrap();
        let (index, recorder) = (Index::open(dir.path()), ActivityRecorder::default());
        let minute = |number: u64| UNIX_EPOCH + Duration::from_secs(1_000_000_020 + 60 * number);
        for (number, answers) in [(0, 5), (1, 5), (2, 9)] {
            let totals = CacheTotals { answers, cached: answers - 1, served_bytes: 100 * answers, fetched_bytes: 7 };
            recorder.record(&index, totals, &Usage::default(), minute(number));
        }
        let told = index.activity(Period::Hour, minute(2));
        let told: Vec<_> = told.iter().map(|(_, slot)| (slot.answers, slot.served_bytes, slot.fetched_bytes)).collect();
        assert_eq!(told, [(5, 500, 7), (0, 0, 0), (4, 400, 0)]);
    }
}
