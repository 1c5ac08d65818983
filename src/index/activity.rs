//! The activity of the cache over time, in slots of three lengths: an hour of minutes, a day of quarters of an hour,
//! and a month of quarters of a day. It is lost with the index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Index, keys};

/// The activity in one slot of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Responses with mirrored content.
    pub answers: u64,
    /// Of these, responses that needed no content from an upstream.
    pub cached: u64,
    /// Bytes of mirrored content sent to clients.
    pub served_bytes: u64,
    /// Bytes received from upstreams.
    pub fetched_bytes: u64,
    /// Bytes of mirrored blobs on the disk at the end.
    pub mirrored_bytes: u64,
    /// Bytes of pushed blobs on the disk at the end.
    pub hosted_bytes: u64,
}

/// The length of the slots, and of the time that they cover together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The last hour, by minutes.
    Hour,
    /// The last day, by quarters of an hour.
    Day,
    /// The last 30 days, by quarters of a day.
    Month,
}

impl Period {
    /// All periods.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The length of a slot.
    #[must_use]
    pub fn slot(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 60,
            Self::Day => 15 * 60,
            Self::Month => 6 * 3600,
        })
    }

    /// The number of slots.
    #[must_use]
    pub fn slots(self) -> u64 {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Month => 120,
        }
    }

    /// Returns the number of the slot that a time is in.
    fn slot_of(self, at: SystemTime) -> u64 {
        at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / self.slot().as_secs())
    }

    /// Returns the first of the slots that end with the one that a time is in.
    fn oldest(self, at: SystemTime) -> u64 {
        (self.slot_of(at) + 1).saturating_sub(self.slots())
    }

    fn prefix(self) -> Vec<u8> {
        [keys::ACTIVITY, &[self as u8]].concat()
    }
}

impl Activity {
    /// Adds what came later.
    fn and(self, later: Self) -> Self {
        Self {
            answers: self.answers.saturating_add(later.answers),
            cached: self.cached.saturating_add(later.cached),
            served_bytes: self.served_bytes.saturating_add(later.served_bytes),
            fetched_bytes: self.fetched_bytes.saturating_add(later.fetched_bytes),
            ..later
        }
    }

    fn encode(self) -> Vec<u8> {
        let Self { answers, cached, served_bytes, fetched_bytes, mirrored_bytes, hosted_bytes } = self;
        let fields = [answers, cached, served_bytes, fetched_bytes, mirrored_bytes, hosted_bytes];
        fields.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (fields, _) = value.as_chunks::<8>();
        let &[answers, cached, served_bytes, fetched_bytes, mirrored_bytes, hosted_bytes] = fields else { return None };
        let number = u64::from_be_bytes;
        Some(Self {
            answers: number(answers),
            cached: number(cached),
            served_bytes: number(served_bytes),
            fetched_bytes: number(fetched_bytes),
            mirrored_bytes: number(mirrored_bytes),
            hosted_bytes: number(hosted_bytes),
        })
    }
}

impl Index {
    /// Adds activity to the slots of this time, and removes those that are older than their period.
    pub fn record_activity(&self, at: SystemTime, new: Activity) {
        for period in Period::ALL {
            let (prefix, oldest) = (period.prefix(), period.oldest(at));
            let key = [&prefix[..], &period.slot_of(at).to_be_bytes()].concat();
            let add = |old: Option<&[u8]>| {
                Some(old.and_then(Activity::decode).map_or(new, |before| before.and(new)).encode())
            };
            self.database.change(|trees| &trees.meta, &key, add);
            let until = [&prefix[..], &oldest.to_be_bytes()].concat();
            let limit = usize::try_from(period.slots()).unwrap_or(usize::MAX);
            let outdated = self.database.range(|trees| &trees.meta, &prefix, &until, limit).unwrap_or_default();
            outdated.iter().for_each(|key| self.database.remove(|trees| &trees.meta, key));
        }
    }

    /// Returns the slots of a period that ends now, oldest first, each with its start. Those without a record are not
    /// among them.
    #[must_use]
    pub fn activity(&self, period: Period, now: SystemTime) -> Vec<(SystemTime, Activity)> {
        let (mut found, slots) = (Vec::new(), period.oldest(now)..=period.slot_of(now));
        self.database.scan(
            |trees| &trees.meta,
            &period.prefix(),
            |key, value| {
                let slot = key.try_into().map(u64::from_be_bytes);
                if let (Ok(slot), Some(activity)) = (slot, Activity::decode(value))
                    && slots.contains(&slot)
                {
                    found.push((UNIX_EPOCH + Duration::from_secs(slot * period.slot().as_secs()), activity));
                }
                true
            },
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn activity(answers: u64, mirrored_bytes: u64) -> Activity {
        Activity {
            answers,
            cached: answers / 2,
            served_bytes: answers * 10,
            fetched_bytes: 3,
            mirrored_bytes,
            hosted_bytes: 9,
        }
    }

    fn answers(index: &Index, period: Period, now: SystemTime) -> Vec<u64> {
        index.activity(period, now).iter().map(|(_, activity)| activity.answers).collect()
    }

    #[test]
    fn counts_are_added_and_usage_is_replaced_within_a_slot() {
        let dir = TempDir::new().unwrap();
        let index = Index::open(dir.path());
        let noon = UNIX_EPOCH + Duration::from_secs(86_400 * 20_000 + 43_200);
        index.record_activity(noon, activity(4, 100));
        index.record_activity(noon + Duration::from_secs(61), activity(6, 70));
        let later = noon + Duration::from_secs(80);
        assert_eq!(answers(&index, Period::Hour, later), [4, 6]);
        let all = Activity {
            answers: 10,
            cached: 5,
            served_bytes: 100,
            fetched_bytes: 6,
            mirrored_bytes: 70,
            hosted_bytes: 9,
        };
        assert_eq!(index.activity(Period::Day, later), [(noon, all)]);
        assert_eq!(index.activity(Period::Month, later), [(noon, all)]);
    }

    #[test]
    fn slots_that_are_older_than_their_period_go() {
        let dir = TempDir::new().unwrap();
        let index = Index::open(dir.path());
        let start = UNIX_EPOCH + Duration::from_secs(86_400 * 20_000);
        for minute in 0..61 {
            index.record_activity(start + Duration::from_secs(60 * minute), activity(minute, 1));
        }
        let now = start + Duration::from_secs(60 * 60);
        assert_eq!(answers(&index, Period::Hour, now), (1..=60).collect::<Vec<_>>());
        assert_eq!(index.activity(Period::Day, now).len(), 5);
        // Nothing was recorded for two hours: what is too old is not told, although it is still there.
        assert!(answers(&index, Period::Hour, now + Duration::from_secs(7200)).is_empty());
        index.record_activity(now + Duration::from_secs(31 * 86_400), activity(1, 1));
        let kept = |period: Period| index.database.keys(|trees| &trees.meta, &period.prefix(), &[], 1000).unwrap();
        assert_eq!(Period::ALL.map(|period| kept(period).len()), [1, 1, 1]);
    }
}
