//! The encoding of the index's values. It has fixed widths and not JSON, since values are read a hundred thousand times
//! a second. A value that cannot be read counts as not known.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::oci::Digest;

/// The state of a blob's file at the time its bytes were last verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedStamp {
    /// Length in bytes.
    pub size: u64,
    /// The time of the last modification, in nanoseconds since the epoch.
    pub mtime: i64,
    /// The inode's number.
    pub inode: u64,
}

/// The origins of a blob's bytes: one, both, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origins {
    /// Pushed here, or promoted: durable, and never evicted.
    pub hosted: bool,
    /// Fetched from an upstream.
    pub mirrored: bool,
}

impl Origins {
    /// Returns two bits.
    pub(super) fn encode(self) -> u8 {
        u8::from(self.hosted) | u8::from(self.mirrored) << 1
    }

    pub(super) fn decode(flags: u8) -> Self {
        Self { hosted: flags & 1 != 0, mirrored: flags & 2 != 0 }
    }
}

/// The relation of a digest to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Link {
    /// There is a revision link on disk.
    pub revision: bool,
    /// There is a layer link on disk.
    pub layer: bool,
    /// A manifest stored in the repository names it, with this size in bytes.
    pub named: Option<u64>,
    /// A client asked for it in this repository as a blob. It may be absent, and this alone grants nothing.
    pub wanted: bool,
}

impl Link {
    /// Returns the union of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            revision: self.revision || other.revision,
            layer: self.layer || other.layer,
            named: other.named.or(self.named),
            wanted: self.wanted || other.wanted,
        }
    }

    /// Returns this relation less `other`; `None` if nothing is left. A blob whose link is removed counts as wanted for
    /// as long as a manifest names it.
    pub(super) fn without(self, other: Self) -> Option<Self> {
        let named = self.named.filter(|_| other.named.is_none());
        let rest = Self {
            revision: self.revision && !other.revision,
            layer: self.layer && !other.layer,
            named,
            wanted: named.is_some() && (self.wanted || self.layer),
        };
        rest.is_any().then_some(rest)
    }

    fn is_any(self) -> bool {
        self.revision || self.layer || self.named.is_some()
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let flags = [self.revision, self.layer, self.named.is_some(), self.wanted];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        [&[flags], &self.named.unwrap_or(0).to_be_bytes()[..]].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (flags, size) = (*value.first()?, value.get(1..9)?.try_into().ok()?);
        let named = (flags & 4 != 0).then_some(u64::from_be_bytes(size));
        let link = Self { revision: flags & 1 != 0, layer: flags & 2 != 0, named, wanted: flags & 8 != 0 };
        link.is_any().then_some(link)
    }
}

/// The digest that a tag named at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// The manifest that it named.
    pub digest: Digest,
    /// The time of the upstream's last answer about the tag, in milliseconds since the epoch.
    checked: u64,
}

impl TagRecord {
    pub(super) fn new(digest: Digest, checked: SystemTime) -> Self {
        let since = checked.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { digest, checked: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The time of the upstream's last answer about the tag.
    #[must_use]
    pub fn checked(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.checked)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.checked.to_be_bytes()[..], self.digest.to_string().as_bytes()].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let checked = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
        let digest = std::str::from_utf8(value.get(8..)?).ok()?.parse().ok()?;
        Some(Self { digest, checked })
    }
}

/// A signed sum of blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedAmount {
    /// Bytes on disk.
    pub bytes: i64,
    /// The number of blobs.
    pub blobs: i64,
}

/// The totals of the storage ledger, which the index keeps over a clean stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    /// The pushed blobs.
    pub hosted: SignedAmount,
    /// The mirrored blobs.
    pub mirrored: SignedAmount,
    /// Bytes of folders and links.
    pub links: i64,
    /// Of these, bytes of mirrored repositories.
    pub mirrored_links: i64,
    /// Bytes of upload sessions.
    pub sessions: i64,
}

impl LedgerTotals {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { hosted, mirrored, links, mirrored_links, sessions } = *self;
        let fields = [hosted.bytes, hosted.blobs, mirrored.bytes, mirrored.blobs, links, mirrored_links, sessions];
        fields.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (fields, rest) = value.as_chunks::<8>();
        let &[hosted_bytes, hosted_blobs, mirrored_bytes, mirrored_blobs, links, mirrored_links, sessions] = fields
        else {
            return None;
        };
        let number = i64::from_be_bytes;
        let amount = |bytes, blobs| SignedAmount { bytes: number(bytes), blobs: number(blobs) };
        rest.is_empty().then(|| Self {
            hosted: amount(hosted_bytes, hosted_blobs),
            mirrored: amount(mirrored_bytes, mirrored_blobs),
            links: number(links),
            mirrored_links: number(mirrored_links),
            sessions: number(sessions),
        })
    }
}
