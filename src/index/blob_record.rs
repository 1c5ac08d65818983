//! The one record of a blob, under its digest, and its encoding.
//!
//! It joins what the index knows of the blob's file (the entry), of its bytes (the stamp of their last verification)
//! and of their origins, so that one write changes all of it. The functions that change it, one for each
//! event in the life of a blob, are in `transitions.rs`.

use super::{BlobEntry, Origins, VerifiedStamp};

/// The index's record of one blob. The default is the record of an unknown blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlobRecord {
    /// The file as it was when its bytes were last verified.
    pub(super) stamp: Option<EpochStamp>,
    /// The origin of the bytes.
    pub(super) origins: Origins,
    /// The file's entry; `None` while the blob is not known to be on disk.
    pub(super) entry: Option<BlobEntry>,
}

/// A stamp with the number of unclean ends of the machine before it. It is ignored after another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpochStamp {
    pub(super) stamp: VerifiedStamp,
    pub(super) epoch: u32,
}

const HAS_ENTRY: u8 = 1;
const HAS_STAMP: u8 = 2;
/// The origins take the two bits from here on.
const ORIGINS_SHIFT: u32 = 2;

impl BlobRecord {
    /// Returns the value for the database; `None` if nothing is known.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        encode(self.entry.map(|entry| entry.encode()).as_deref(), self.stamp.map(EpochStamp::encode), self.origins)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (flags, mut rest) = value.split_first()?;
        let mut part = |flag: u8, length: usize| {
            let (part, after) = rest.split_at_checked(if flags & flag == 0 { 0 } else { length })?;
            rest = after;
            Some(part)
        };
        let (entry, stamp) = (part(HAS_ENTRY, BlobEntry::ENCODED)?, part(HAS_STAMP, EpochStamp::ENCODED)?);
        let (entry, stamp) = (BlobEntry::decode(entry), EpochStamp::decode(stamp));
        Some(Self { stamp, origins: Origins::decode(flags >> ORIGINS_SHIFT), entry })
    }
}

/// Joins the encoded parts; `None` if there are none.
pub(super) fn encode(
    entry: Option<&[u8]>,
    stamp: Option<[u8; EpochStamp::ENCODED]>,
    origins: Origins,
) -> Option<Vec<u8>> {
    let flags = entry.map_or(0, |_| HAS_ENTRY) | stamp.map_or(0, |_| HAS_STAMP) | origins.encode() << ORIGINS_SHIFT;
    let value = || [&[flags][..], entry.unwrap_or_default(), stamp.as_ref().map_or(&[], |stamp| &stamp[..])].concat();
    (flags != 0).then(value)
}

impl EpochStamp {
    pub(super) const ENCODED: usize = 28;

    pub(super) fn encode(self) -> [u8; Self::ENCODED] {
        let mut value = [0; Self::ENCODED];
        value[..8].copy_from_slice(&self.stamp.size.to_be_bytes());
        value[8..16].copy_from_slice(&self.stamp.mtime.to_be_bytes());
        value[16..24].copy_from_slice(&self.stamp.inode.to_be_bytes());
        value[24..].copy_from_slice(&self.epoch.to_be_bytes());
        value
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let field = |at: usize| value.get(at..at + 8)?.try_into().ok();
        let stamp = VerifiedStamp {
            size: u64::from_be_bytes(field(0)?),
            mtime: i64::from_be_bytes(field(8)?),
            inode: u64::from_be_bytes(field(16)?),
        };
        Some(Self { stamp, epoch: u32::from_be_bytes(value.get(24..)?.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{BlobKind, Owner};

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let stamp = EpochStamp { stamp: VerifiedStamp { size: 1, mtime: -2, inode: 3 }, epoch: 4 };
        let entry =
            BlobEntry { upstream: 7, pinned: true, ..BlobEntry::new(5, Owner::Mirrored, BlobKind::Manifest, 6) };
        for stamp in [None, Some(stamp)] {
            for entry in [None, Some(entry)] {
                for flags in 0..4 {
                    let record = BlobRecord { stamp, entry, origins: Origins::decode(flags) };
                    let decoded = record.encode().map(|value| BlobRecord::decode(&value).unwrap());
                    assert_eq!(decoded.unwrap_or_default(), record);
                }
            }
        }
        assert_eq!(BlobRecord::default().encode(), None);
        assert_eq!(BlobRecord::decode(&[HAS_ENTRY, 1, 2]), None, "cut short");
    }
}
