//! What is known of one blob on disk, and how that is written down.

use crate::oci::Digest;

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Owner {
    /// Nobody knows yet: they may be somebody's.
    #[default]
    Unknown,
    /// They came from an upstream, and can be fetched again.
    Mirrored,
    /// They were pushed here.
    Hosted,
}

/// When an object goes, by what it is: all of a tier before any of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// No cached manifest names it.
    Unreachable = 0,
    /// A layer.
    Blob = 1,
    /// A manifest or a config: tiny, and what upstreams count.
    Manifest = 2,
    /// It cannot go before a certain time.
    Deferred = 8,
    /// It does not go.
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

/// What is known of one blob on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// What its file occupies, in bytes.
    pub allocated: u64,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it is a manifest.
    pub manifest: bool,
    /// When it was last asked for, or came: seconds since the epoch.
    pub used: u64,
    /// How often.
    pub uses: u32,
    /// The number of the upstream it came from; 0 where that is not known.
    pub(super) upstream: u8,
    /// Whether a repository links it whose content never makes way.
    pub(super) pinned: bool,
    pub(super) tier: Tier,
    pub(super) rank: u64,
}

/// A holding that changed: it came where there was none before, and went where there is none after.
#[derive(Clone, Copy, Debug)]
pub struct EntryChange {
    /// As it was.
    pub before: Option<BlobEntry>,
    /// As it is.
    pub after: Option<BlobEntry>,
}

/// How often and when something was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// How often.
    pub count: u32,
    /// The last time, in seconds since the epoch.
    pub last: u64,
}

/// How a manifest names a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As a layer.
    Layer = 0,
    /// As its config, or as a manifest of its own.
    Manifest = 1,
}

impl BlobEntry {
    pub(super) fn new(allocated: u64, owner: Owner, manifest: bool, now: u64) -> Self {
        Self {
            allocated,
            owner,
            manifest,
            used: now,
            uses: 1,
            upstream: 0,
            pinned: false,
            tier: Tier::Unreachable,
            rank: 0,
        }
    }

    /// Its key in the line, if it can go at all.
    pub(super) fn place(&self, digest: &Digest) -> Option<Vec<u8>> {
        (self.owner == Owner::Mirrored).then(|| place(self.tier, self.rank, digest.as_bytes()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = self.owner as u8 | u8::from(self.pinned) << 6 | u8::from(self.manifest) << 7;
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
            manifest: value[0] & 128 != 0,
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

/// A place in the line: tier, rank, digest.
pub(super) fn place(tier: Tier, rank: u64, digest: &[u8]) -> Vec<u8> {
    [&[tier as u8][..], &rank.to_be_bytes(), digest].concat()
}
