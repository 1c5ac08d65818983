//! The last uses of mirrored blobs, in one file of the data directory: what the order of eviction depends on and the
//! rest of the disk does not tell. It survives a deleted index, which is derived from the disk.
//!
//! The file holds a header and 32 bytes for each blob, sorted by digest, so that its size is bounded by the number of
//! blobs. It is written beside the old one and renamed over it. A damaged file changes the order of eviction at most.

use std::fs;

use super::{Disk, Error, atomic_fs, look};
use crate::oci::Digest;

/// The first bytes of the file: its name and version.
const MAGIC: [u8; 16] = *b"entrepot uses 1\n";
/// The bytes of a digest that a record has.
const PREFIX_BYTES: usize = 16;
/// The bytes of a record, and of the header.
const RECORD_BYTES: usize = 32;

/// The uses of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// The time of the last use, in seconds since the epoch.
    pub used: u64,
    /// The number of uses.
    pub uses: u32,
    /// The rank by which it is evicted; 0 if it has none at the moment.
    pub rank: u64,
}

/// The uses of all mirrored blobs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastUses {
    /// The rank of the blob that was evicted last.
    clock: u64,
    /// Sorted by the beginning of the digest.
    records: Vec<[u8; RECORD_BYTES]>,
}

impl LastUses {
    /// Creates a list without blobs. `clock` is the rank of the blob that was evicted last.
    #[must_use]
    pub fn new(clock: u64) -> Self {
        Self { clock, records: Vec::new() }
    }

    /// Returns the rank of the blob that was evicted last.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Adds a blob, whose digest comes after those of all others.
    pub fn push(&mut self, digest: &Digest, last: LastUse) {
        let mut record = [0; RECORD_BYTES];
        record[..PREFIX_BYTES].copy_from_slice(&prefix(digest));
        record[PREFIX_BYTES..20].copy_from_slice(&u32::try_from(last.used).unwrap_or(u32::MAX).to_be_bytes());
        record[20..24].copy_from_slice(&last.uses.to_be_bytes());
        record[24..].copy_from_slice(&last.rank.to_be_bytes());
        self.records.push(record);
    }

    /// Returns the uses of a blob.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<LastUse> {
        let found = self.records.binary_search_by(|record| record[..PREFIX_BYTES].cmp(&prefix(digest))).ok()?;
        let record = self.records.get(found)?;
        let number = |at: usize| Some(u32::from_be_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let rank = u64::from_be_bytes(record[24..].try_into().ok()?);
        Some(LastUse { used: number(PREFIX_BYTES)?.into(), uses: number(20)?, rank })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((self.records.len() + 1) * RECORD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.clock.to_be_bytes());
        self.records.iter().for_each(|record| bytes.extend_from_slice(record));
        bytes
    }

    /// Returns `None` for a file of another version.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let (header, records) = records.split_first()?;
        let clock = u64::from_be_bytes(header[24..].try_into().ok()?);
        header.starts_with(&MAGIC).then(|| Self { clock, records: records.to_vec() })
    }
}

fn prefix(digest: &Digest) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&digest.as_bytes()[..PREFIX_BYTES]);
    prefix
}

impl Disk<'_> {
    /// Replaces the file of last uses. Until it is whole, the old one stays.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be written.
    pub fn save_last_uses(&self, uses: &LastUses) -> Result<(), Error> {
        let path = self.layout.last_uses();
        // A crash leaves it in the staging folder, which is swept at the start.
        let temporary = self.mount_roots.staging(&path)?.join("uses");
        atomic_fs::replace(&path, &temporary, &uses.encode())
    }

    /// Reads the file of last uses; `None` if there is none, or if it is of another version.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be read.
    pub fn last_uses(&self) -> Result<Option<LastUses>, Error> {
        let path = self.layout.last_uses();
        let bytes = look::found(&path, fs::read(&path))?;
        Ok(bytes.and_then(|bytes| LastUses::decode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lanes::Blocking,
        storage::{SpaceLimits, Storage},
    };

    fn digests() -> Vec<Digest> {
        let mut digests: Vec<_> = (0..100_u8).map(|number| Digest::sha256(&[number])).collect();
        digests.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        digests
    }

    fn use_of(number: usize) -> LastUse {
        LastUse { used: 1_700_000_000 + number as u64, uses: 1, rank: u64::MAX - number as u64 }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let io = Blocking::in_test();
        let storage = Storage::open(io, dir.path(), SpaceLimits::default()).unwrap();
        let disk = storage.disk(io);
        assert_eq!(disk.last_uses().unwrap(), None);
        let mut saved = LastUses::new(7);
        digests().iter().enumerate().for_each(|(number, digest)| saved.push(digest, use_of(number)));
        disk.save_last_uses(&LastUses::new(1)).unwrap();
        disk.save_last_uses(&saved).unwrap();
        let read = disk.last_uses().unwrap().unwrap();
        assert_eq!((&read, read.clock()), (&saved, 7));
        for (number, digest) in digests().iter().enumerate() {
            assert_eq!(read.get(digest), Some(use_of(number)));
        }
        assert_eq!(read.get(&Digest::sha256(b"another")), None);
    }

    #[test]
    fn a_file_that_is_cut_or_of_another_version_is_no_error() {
        let mut saved = LastUses::new(7);
        digests().iter().for_each(|digest| saved.push(digest, use_of(0)));
        let bytes = saved.encode();
        for length in [0, 5, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, bytes.len() - 1] {
            let read = LastUses::decode(&bytes[..length]);
            assert_eq!(read.map(|uses| uses.records.len()), (length / RECORD_BYTES).checked_sub(1), "{length}");
        }
        assert_eq!(LastUses::decode(&[b'x'; 100]), None);
    }
}
