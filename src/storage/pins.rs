//! The pins that commands made, in one file of the data directory, since a lost index must not unpin anything: a
//! pattern of repository names on each line. It is written beside the old one and renamed over it.

use std::{fs, io};

use super::{Disk, Error, atomic_fs, look};
use crate::oci::NamePattern;

/// The first line of the file: its name and version.
const MAGIC: &str = "entrepot pins 1";

impl Disk<'_> {
    /// Replaces the pins, durably.
    ///
    /// # Errors
    /// Any variant of [`Error`] if they cannot be written.
    pub fn save_pins(&self, pins: &[NamePattern]) -> Result<(), Error> {
        let path = self.layout.pins();
        let lines = std::iter::once(MAGIC).chain(pins.iter().map(NamePattern::as_str));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        // A crash leaves it in the staging folder, which is swept at the start.
        let temporary = self.mount_roots.staging(&path)?.join("pins");
        atomic_fs::replace(&path, &temporary, text.as_bytes())
    }

    /// Reads the pins; none if there is no such file.
    ///
    /// # Errors
    /// Any variant of [`Error`] if they cannot be read, or the file is damaged: what is pinned is not known then.
    pub fn pins(&self) -> Result<Vec<NamePattern>, Error> {
        let path = self.layout.pins();
        let Some(bytes) = look::found(&path, fs::read(&path))? else { return Ok(Vec::new()) };
        let damaged = || Error::at(&path)(io::Error::new(io::ErrorKind::InvalidData, "it is no list of pins"));
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let mut lines = text.lines();
        if lines.next() != Some(MAGIC) {
            return Err(damaged());
        }
        lines.map(|line| line.parse().map_err(|_| damaged())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lanes::Blocking,
        storage::{SpaceLimits, Storage},
    };

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn pins_are_read_as_they_were_written_or_not_at_all() {
        let (dir, io) = (tempfile::TempDir::new().unwrap(), Blocking::in_test());
        let storage = Storage::open(io, dir.path(), SpaceLimits::default()).unwrap();
        let disk = storage.disk(io);
        assert_eq!(disk.pins().unwrap(), []);
        let pins: Vec<NamePattern> = ["library/*", "ghcr.io/**"].map(|text| text.parse().unwrap()).into();
        disk.save_pins(&pins).unwrap();
        assert_eq!(disk.pins().unwrap(), pins);
        for damaged in ["", "entrepot pins 2\n", "entrepot pins 1\nA//\n", "\u{0}"] {
            fs::write(dir.path().join("pins"), damaged).unwrap();
            assert!(disk.pins().is_err(), "{damaged:?}");
        }
    }
}
