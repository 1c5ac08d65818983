//! The time in which every pull of hosted content was noted, in one file of the data directory. While another program,
//! or an older version of this one, served the volume, pulls were not noted, and a note from before says nothing about
//! them.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use super::{Disk, Error, atomic_fs, look};

/// The longest gap that does not end the record. While no server runs nobody pulls, but another program may have served
/// the volume.
const MAX_GAP: Duration = Duration::from_secs(24 * 60 * 60);

/// The time in which every pull was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRecord {
    /// Its begin.
    pub since: SystemTime,
    /// Its end, at the last write of the file.
    pub until: SystemTime,
}

impl PullRecord {
    /// Returns the record that a server continues at `now`: `last`, or a new one if that is missing, too old, or from a
    /// clock that was ahead.
    #[must_use]
    pub fn continued(last: Option<Self>, now: SystemTime) -> Self {
        let is_recent = |last: &Self| {
            last.since <= last.until && now.duration_since(last.until).is_ok_and(|passed| passed <= MAX_GAP)
        };
        Self { since: last.filter(is_recent).map_or(now, |last| last.since), until: now }
    }

    fn write(self) -> String {
        let [since, until] = [self.since, self.until].map(humantime::format_rfc3339_seconds);
        format!("{since} {until}\n")
    }

    fn parse(content: &str) -> Option<Self> {
        let (since, until) = content.trim_end().split_once(' ')?;
        let time = |text: &str| humantime::parse_rfc3339(text).ok();
        Some(Self { since: time(since)?, until: time(until)? })
    }
}

impl Disk<'_> {
    /// Replaces the record. Until it is whole, the old one stays.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be written.
    pub fn save_pull_record(&self, record: PullRecord) -> Result<(), Error> {
        let path = self.layout.pull_record();
        // A crash leaves it in the staging folder, which is swept at the start.
        let temporary = self.mount_roots.staging(&path)?.join("pulls");
        atomic_fs::replace(&path, &temporary, record.write().as_bytes())
    }

    /// Reads the record; `None` if there is none, or if it cannot be parsed.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be read.
    pub fn pull_record(&self) -> Result<Option<PullRecord>, Error> {
        let path = self.layout.pull_record();
        let bytes = look::found(&path, fs::read(&path))?;
        Ok(bytes.and_then(|bytes| PullRecord::parse(str::from_utf8(&bytes).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lanes::Blocking,
        storage::{SpaceLimits, Storage},
    };

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + hours * 3600)
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    #[test]
    fn a_record_is_read_as_it_was_written() {
        let dir = tempfile::TempDir::new().unwrap();
        let io = Blocking::in_test();
        let storage = Storage::open(io, dir.path(), SpaceLimits::default()).unwrap();
        let disk = storage.disk(io);
        assert_eq!(disk.pull_record().unwrap(), None);
        let record = PullRecord { since: at(0), until: at(1) };
        disk.save_pull_record(PullRecord { since: at(0), until: at(0) }).unwrap();
        disk.save_pull_record(record).unwrap();
        assert_eq!(disk.pull_record().unwrap(), Some(record));
        for damaged in ["", "x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z soon\n", "\u{fffd} \u{fffd}"] {
            fs::write(dir.path().join("pulls"), damaged).unwrap();
            assert_eq!(disk.pull_record().unwrap(), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_record_ends_with_a_gap() {
        let last = PullRecord { since: at(0), until: at(100) };
        let since = |last, now| PullRecord::continued(last, now).since;
        assert_eq!(since(Some(last), at(100)), at(0));
        assert_eq!(since(Some(last), at(124)), at(0));
        assert_eq!(since(Some(last), at(125)), at(125), "something else may have served the volume");
        assert_eq!(since(Some(last), at(99)), at(99), "the clock was ahead, or is behind");
        assert_eq!(since(None, at(5)), at(5));
    }
}
