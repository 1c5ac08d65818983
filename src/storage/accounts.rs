//! The sums of the space accounting, which the ledger keeps under its lock.

use std::{collections::HashMap, time::Instant};

use super::{
    lock_regions::RegionId,
    usage::{Delta, Sampled, Sum},
};

/// A margin of bytes, since a link is on disk a moment before it is charged, and there may be many at a time.
const SLACK_BYTES: u64 = 4 << 20;
/// Held back for the index: at least `INDEX_BYTES`, or `INDEX_BYTES_AN_OBJECT` for each blob.
const INDEX_BYTES: u64 = 16 << 20;
const INDEX_BYTES_AN_OBJECT: u64 = 512;
/// The bytes that are always held back: nothing can be stored within a smaller quota.
pub const MIN_QUOTA_BYTES: u64 = INDEX_BYTES + SLACK_BYTES;
/// The growth of the index that is expected between two measurements.
const INDEX_STEP_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) hosted: Sum,
    pub(super) mirrored: Sum,
    /// Bytes of folders, links and upload sessions, except the sessions that are being written to.
    pub(super) charged: Charged,
    /// Bytes of staged files, and the growth of the sessions that are being written to.
    pub(super) staged: u64,
    /// Bytes reserved, but not yet allocated by the filesystem.
    pub(super) promised: u64,
    pub(super) sampled: Option<(Instant, Sampled)>,
    /// Set once everything on disk is counted.
    pub(super) known: bool,
    pub(super) scan: Option<Scan>,
}

/// A scan of the whole disk while the accounts change. Changes of a scanned region are added to the sum; those of the
/// others are dropped when the region is scanned.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) seen: HashMap<RegionId, bool>,
    pub(super) pending: HashMap<RegionId, Charged>,
    pub(super) sum: Charged,
}

/// Bytes added to a region, or taken from it if negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) links: i64,
    pub(super) sessions: i64,
}

impl std::ops::AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.links += other.links;
        self.sessions += other.sessions;
    }
}

/// The bytes of all regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charged {
    pub(super) links: i64,
    /// Of these, those of mirrored repositories.
    pub(super) mirrored_links: i64,
    pub(super) sessions: i64,
}

impl Charged {
    pub(super) fn of(region: RegionId, charge: Charge) -> Self {
        let Charge { links, sessions } = charge;
        Self { links, mirrored_links: if region.is_mirrored { links } else { 0 }, sessions }
    }
}

impl std::ops::AddAssign for Charged {
    fn add_assign(&mut self, other: Self) {
        self.links += other.links;
        self.mirrored_links += other.mirrored_links;
        self.sessions += other.sessions;
    }
}

/// The bytes of mirrored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirroredBytes {
    /// Of its blobs.
    pub blobs: u64,
    /// Of the folders and links in its repositories.
    pub links: u64,
}

/// A change of the bytes and the number of data files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Pushed content.
    pub hosted: Delta,
    /// Mirrored content.
    pub mirrored: Delta,
}

/// All that the ledger counts, as it is kept over a clean stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The data files.
    pub blobs: Change,
    /// Bytes of folders and links.
    pub links: i64,
    /// Of these, bytes of mirrored repositories.
    pub mirrored_links: i64,
    /// Bytes of upload sessions.
    pub sessions: i64,
}

impl Accounts {
    /// Adds a change of folders, links or sessions in a region, and to the scan, if there is one.
    pub(super) fn charge(&mut self, region: RegionId, charge: Charge) {
        let charge = Charged::of(region, charge);
        self.charged += charge;
        if let Some(scan) = &mut self.scan {
            let slot =
                if scan.seen.contains_key(&region) { &mut scan.sum } else { scan.pending.entry(region).or_default() };
            *slot += charge;
        }
    }

    /// The bytes on disk.
    pub(super) fn used(&self, sampled: &Sampled) -> u64 {
        let charged =
            self.charged.links + self.charged.sessions + self.hosted.delta().bytes + self.mirrored.delta().bytes;
        charged.max(0).unsigned_abs() + self.staged + sampled.total()
    }

    /// The bytes held back for the index and for links that are not yet charged.
    pub(super) fn kept_back(&self, sampled: &Sampled) -> u64 {
        let objects = self.hosted.objects() + self.mirrored.objects();
        let index = INDEX_BYTES.max(objects * INDEX_BYTES_AN_OBJECT).max(sampled.index + INDEX_STEP_BYTES);
        index.saturating_sub(sampled.index) + SLACK_BYTES
    }
}
