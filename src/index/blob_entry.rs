//! The entry of one blob on disk, which is a part of its record, and its encoding.

use crate::oci::Digest;

/// The owner of a blob's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Owner {
    /// Not known yet; treated as possibly pushed.
    #[default]
    Unknown,
    /// Fetched from an upstream, and can be fetched again.
    Mirrored,
    /// Pushed to this registry.
    Hosted,
}

/// The kind of a blob's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobKind {
    /// A layer, a config, or not known yet.
    Blob,
    /// A manifest or an index.
    Manifest,
}

/// The eviction class of a blob: all of a tier is evicted before any of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// No cached manifest names the blob.
    Unreachable = 0,
    /// A layer.
    Blob = 1,
    /// A manifest or a config: tiny, and rate limits of upstreams count it.
    Manifest = 2,
    /// The blob cannot be evicted before a certain time.
    Deferred = 8,
    /// The blob is never evicted.
    Pinned = 9,
}

impl Tier {
    fn decode(value: u8) -> Self {
        match value {
            0 => Self::Unreachable,
            1 => Self::Blob,
            2 => Self::Manifest,
            8 => Self::Deferred,
            _ => Self::Pinned,
        }
    }
}

/// The file of one blob on disk, its owner and its uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// The bytes that its file occupies.
    pub allocated: u64,
    /// The owner of the bytes.
    pub owner: Owner,
    /// The kind of its content.
    pub kind: BlobKind,
    /// The time of its last request, or of its arrival: seconds since the epoch.
    pub used: u64,
    /// The number of its requests.
    pub uses: u32,
    /// The number of the upstream it came from; 0 if that is not known.
    pub(super) upstream: u8,
    /// Set if a repository that links it is pinned.
    pub(super) pinned: bool,
    pub(super) tier: Tier,
    pub(super) rank: u64,
}

/// A change of an entry: an insertion if there is none before, a removal if there is none after.
#[derive(Clone, Copy, Debug)]
pub struct EntryChange {
    /// The entry before the change.
    pub before: Option<BlobEntry>,
    /// The entry after the change.
    pub after: Option<BlobEntry>,
}

/// The number of requests for a blob, and the time of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The number of requests.
    pub count: u32,
    /// The time of the last one, in seconds since the epoch.
    pub last: u64,
}

/// The part that a blob plays in a manifest that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As a layer.
    Layer = 0,
    /// As its config, or as a manifest of an index.
    Manifest = 1,
}

impl BlobEntry {
    /// The length of an encoded entry.
    pub(super) const ENCODED: usize = 31;

    pub(super) fn new(allocated: u64, owner: Owner, kind: BlobKind, now: u64) -> Self {
        Self {
            allocated,
            owner,
            kind,
            used: now,
            uses: 1,
            upstream: 0,
            pinned: false,
            tier: Tier::Unreachable,
            rank: 0,
        }
    }

    /// Returns its key in the eviction queue; `None` unless it is [`Owner::Mirrored`].
    pub(super) fn queue_key(&self, digest: &Digest) -> Option<Vec<u8>> {
        (self.owner == Owner::Mirrored).then(|| queue_key(self.tier, self.rank, digest.as_bytes()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = self.owner as u8 | u8::from(self.pinned) << 6 | u8::from(self.kind == BlobKind::Manifest) << 7;
        [
            &[flags, self.tier as u8][..],
            &self.allocated.to_be_bytes(),
            &self.used.to_be_bytes(),
            &self.rank.to_be_bytes(),
            &self.uses.to_be_bytes(),
            &[self.upstream],
        ]
        .concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
        let owner = match value.first()? & 3 {
            1 => Owner::Mirrored,
            2 => Owner::Hosted,
            _ => Owner::Unknown,
        };
        Some(Self {
            owner,
            kind: if value[0] & 128 == 0 { BlobKind::Blob } else { BlobKind::Manifest },
            pinned: value[0] & 64 != 0,
            tier: Tier::decode(*value.get(1)?),
            allocated: field(2)?,
            used: field(10)?,
            rank: field(18)?,
            uses: u32::from_be_bytes(value.get(26..30)?.try_into().ok()?),
            upstream: *value.get(30)?,
        })
    }
}

/// Returns a key of the eviction queue: tier, rank, digest.
pub(super) fn queue_key(tier: Tier, rank: u64, digest: &[u8]) -> Vec<u8> {
    [&[tier as u8][..], &rank.to_be_bytes(), digest].concat()
}
