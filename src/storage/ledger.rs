//! The space accounting: used and reserved bytes, and how many are missing for a reservation. Never evicts, never
//! waits, except for the filesystem whose free space it asks for: [`super::Disk`] has the methods that do.
//!
//! Everything below the root is charged with its allocated blocks, once per inode. Data files are charged by the
//! registry, which knows their owners; folders, links and upload sessions by the modules of storage that make them. The
//! index, which sled writes, is measured from time to time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    SpaceLimits,
    accounts::{Accounts, Change, Charge, Charged, MirroredBytes, Scan, Totals},
    lock_regions::RegionId,
    short::{Bounded, InsufficientSpace},
    usage::{self, Filesystem, Sampled, Sum, Usage},
};

/// The maximum age of a measurement.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// The use that a reservation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be kept for good: the push is refused if nothing can be evicted.
    Hosted,
    /// To be cached: the content is not kept if nothing can be evicted.
    Mirrored,
}

/// The accounts of one data directory.
#[derive(Debug)]
pub struct Ledger {
    root: PathBuf,
    /// The folders with staging and quarantine: the root, and one on each other mount.
    mount_roots: Vec<PathBuf>,
    limits: SpaceLimits,
    accounts: Mutex<Accounts>,
    opened: Instant,
}

impl Ledger {
    pub(super) fn new(root: &Path, mount_roots: Vec<PathBuf>, limits: SpaceLimits) -> Self {
        Self { root: root.to_owned(), mount_roots, limits, accounts: Mutex::default(), opened: Instant::now() }
    }

    /// Returns the filesystem of the prefix folders that have no mount of their own: most bytes go there.
    fn disk(&self) -> Filesystem {
        let is_prefix_dir = |root: &Path| {
            let above = root.parent();
            above.is_some_and(|above| above.ends_with("v2/blobs/sha256") || above.ends_with("v2/blobs/sha512"))
        };
        Filesystem::of(self.mount_roots.iter().rfind(|root| !is_prefix_dir(root)).unwrap_or(&self.root))
    }

    /// Reserves `bytes` until the reservation is dropped.
    ///
    /// # Errors
    /// [`InsufficientSpace`] if they do not fit.
    pub(super) fn reserve(self: Arc<Self>, purpose: Purpose, bytes: u64) -> Result<Reservation, InsufficientSpace> {
        let mut accounts = self.accounts.lock();
        if let Some(short) = self.short(&mut accounts, purpose, bytes) {
            return Err(short);
        }
        accounts.promised += bytes;
        drop(accounts);
        Ok(Reservation { promised: bytes, staged: 0, ledger: self })
    }

    /// Reserves `bytes` although they may not fit yet, so that no other request takes what is freed for them. Nothing
    /// may be written while there is an [overdraft](Ledger::overdraft).
    pub(super) fn reserve_ahead(self: Arc<Self>, bytes: u64) -> Reservation {
        self.accounts.lock().promised += bytes;
        Reservation { promised: bytes, staged: 0, ledger: self }
    }

    /// Returns by how much everything that is used and reserved exceeds its bound; `None` if it does not. Until all is
    /// counted, nothing is known to be within a bound on counted bytes.
    pub(super) fn overdraft(&self, purpose: Purpose) -> Option<InsufficientSpace> {
        self.short(&mut self.accounts.lock(), purpose, 0)
    }

    /// Returns the time since the directory was opened.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Checks the size of a whole object alone, of which a part is reserved already.
    ///
    /// # Errors
    /// [`InsufficientSpace`] if it is more than an object may have (`storage.maxobject`).
    pub(super) fn check_object(&self, purpose: Purpose, bytes: u64) -> Result<(), InsufficientSpace> {
        let mut accounts = self.accounts.lock();
        let sampled = self.sample(&mut accounts);
        self.beyond_object(&self.disk(), accounts.used(&sampled), purpose, bytes).map_or(Ok(()), Err)
    }

    fn beyond_object(&self, disk: &Filesystem, used: u64, purpose: Purpose, bytes: u64) -> Option<InsufficientSpace> {
        let allowed = self.limits.object(disk.size);
        let bounded = Bounded::Object;
        let is_beyond = purpose == Purpose::Mirrored && bytes > allowed;
        is_beyond.then_some(InsufficientSpace {
            by: bytes,
            bounded,
            leased: None,
            used,
            reserved: 0,
            allowed,
            needed: bytes,
        })
    }

    fn short(&self, accounts: &mut Accounts, purpose: Purpose, bytes: u64) -> Option<InsufficientSpace> {
        let sampled = self.sample(accounts);
        let disk = self.disk();
        let spoken_for = self.limits.headroom(disk.size).saturating_add(accounts.promised);
        let free = disk.free.saturating_sub(spoken_for);
        let used = accounts.used(&sampled);
        let refused = |bounded, allowed| {
            Some(InsufficientSpace { by: bytes, bounded, leased: None, used, reserved: 0, allowed, needed: bytes })
        };
        if let Some(short) = self.beyond_object(&disk, used, purpose, bytes) {
            return Some(short);
        }
        if purpose == Purpose::Mirrored && !accounts.known {
            return refused(Bounded::Unknown, self.limits.mirrored(disk.size));
        }
        // The part of the headroom that other programs took must be freed too, or evicting `by` bytes would not
        // suffice.
        let by = bytes.saturating_add(spoken_for).saturating_sub(disk.free);
        let allowed = used.saturating_add(free);
        let (leased, reserved, needed) = (None, accounts.promised, bytes);
        let by_disk =
            InsufficientSpace { by, bounded: Bounded::Filesystem, leased, used, reserved: 0, allowed, needed };
        let kept_back = accounts.promised + accounts.kept_back(&sampled);
        let (bounded, used, reserved, allowed) = match (self.limits.quota, purpose) {
            (Some(quota), _) if accounts.known => (Bounded::Quota, used, kept_back, quota.of(disk.size)),
            // Until the scan ends, everything on the filesystem counts as used.
            (Some(quota), _) => (Bounded::Unknown, disk.size - disk.free, kept_back, quota.of(disk.size)),
            (None, Purpose::Mirrored) => {
                (Bounded::Share, accounts.mirrored.bytes() + accounts.staged, reserved, self.limits.mirrored(disk.size))
            }
            (None, Purpose::Hosted) => (Bounded::Filesystem, 0, 0, u64::MAX),
        };
        let by = (used + reserved).saturating_add(bytes).saturating_sub(allowed);
        let by_bound = InsufficientSpace { by, bounded, leased, used, reserved, allowed, needed };
        Some(if by_bound.by > by_disk.by { by_bound } else { by_disk }).filter(|short| short.by > 0)
    }

    /// Returns the used bytes and their bounds.
    pub(super) fn usage(&self) -> Usage {
        let mut accounts = self.accounts.lock();
        if let Some((at, _)) = &mut accounts.sampled {
            // Makes the last measurement out of date.
            *at = at.checked_sub(SAMPLE_INTERVAL).unwrap_or(*at);
        }
        let sampled = self.sample(&mut accounts);
        let disk = self.disk();
        Usage {
            hosted: accounts.hosted,
            mirrored: accounts.mirrored,
            links: accounts.charged.links.max(0).unsigned_abs(),
            staged: accounts.staged + accounts.charged.sessions.max(0).unsigned_abs(),
            quarantined: sampled.quarantined,
            index: sampled.index,
            other: sampled.other,
            promised: accounts.promised,
            quota: self.limits.quota.map(|quota| quota.of(disk.size)),
            share: self.limits.mirrored(disk.size),
            headroom: self.limits.headroom(disk.size),
            known: accounts.known,
            filesystem: disk,
        }
    }

    /// Returns the bytes of mirrored content.
    #[must_use]
    pub fn mirrored(&self) -> MirroredBytes {
        let accounts = self.accounts.lock();
        MirroredBytes { blobs: accounts.mirrored.bytes(), links: accounts.charged.mirrored_links.max(0).unsigned_abs() }
    }

    /// Adds a change of data files.
    pub fn change(&self, change: Change) {
        let mut accounts = self.accounts.lock();
        accounts.hosted.add(change.hosted);
        accounts.mirrored.add(change.mirrored);
    }

    /// Adds the totals of the last clean stop to the changes since the directory was opened.
    pub fn restore_totals(&self, totals: &Totals) {
        let mut accounts = self.accounts.lock();
        accounts.hosted.add(totals.blobs.hosted);
        accounts.mirrored.add(totals.blobs.mirrored);
        let Totals { links, mirrored_links, sessions, .. } = *totals;
        accounts.charged += Charged { links, mirrored_links, sessions };
        accounts.known = true;
    }

    /// Returns the totals for [`Ledger::restore_totals`], if everything is counted.
    #[must_use]
    pub fn totals(&self) -> Option<Totals> {
        let accounts = self.accounts.lock();
        let blobs = Change { hosted: accounts.hosted.delta(), mirrored: accounts.mirrored.delta() };
        let Charged { links, mirrored_links, sessions } = accounts.charged;
        accounts.known.then_some(Totals { blobs, links, mirrored_links, sessions })
    }

    /// Sets whether all data files are counted. Until they are, nothing new is cached.
    pub fn set_known(&self, known: bool) {
        self.accounts.lock().known = known;
    }

    /// Replaces the totals of all data files by these.
    pub fn recount(&self, change: Change) {
        let mut accounts = self.accounts.lock();
        (accounts.hosted, accounts.mirrored) = (Sum::default(), Sum::default());
        accounts.hosted.add(change.hosted);
        accounts.mirrored.add(change.mirrored);
    }

    /// Adds a change of folders, links or sessions in a region. The caller holds the region's lock.
    pub(super) fn charge(&self, region: RegionId, charge: Charge) {
        self.accounts.lock().charge(region, charge);
    }

    /// Begins a scan of the whole disk.
    pub(super) fn begin_scan(&self) {
        self.accounts.lock().scan = Some(Scan::default());
    }

    /// Adds the measured content of a region to the scan. The caller holds the region's lock.
    pub(super) fn scanned(&self, region: RegionId, found: Charge) {
        if let Some(scan) = &mut self.accounts.lock().scan {
            scan.pending.remove(&region);
            scan.seen.insert(region, true);
            scan.sum += Charged::of(region, found);
        }
    }

    /// Discards a scan that failed.
    pub(super) fn abandon_scan(&self) {
        self.accounts.lock().scan = None;
    }

    /// Replaces the accounts by the sums of the scan; returns by how many bytes they were wrong.
    pub(super) fn end_scan(&self) -> i64 {
        let mut accounts = self.accounts.lock();
        let Some(mut scan) = accounts.scan.take() else { return 0 };
        // Regions that were made after the scan listed them.
        scan.pending.values().for_each(|charge| scan.sum += *charge);
        let drift = accounts.charged.links + accounts.charged.sessions - scan.sum.links - scan.sum.sessions;
        accounts.charged = scan.sum;
        drift
    }

    /// Moves the bytes of a session to a new reservation, as those of a staged file.
    pub(super) fn take_session(self: Arc<Self>, region: RegionId, bytes: u64) -> Reservation {
        // Under one lock: nobody sees the bytes as free in between.
        let mut accounts = self.accounts.lock();
        accounts.charge(region, Charge { sessions: -i64::try_from(bytes).unwrap_or(i64::MAX), links: 0 });
        accounts.staged += bytes;
        drop(accounts);
        Reservation { promised: 0, staged: bytes, ledger: self }
    }

    fn sample(&self, accounts: &mut Accounts) -> Sampled {
        match accounts.sampled {
            Some((at, sampled)) if at.elapsed() < SAMPLE_INTERVAL => sampled,
            last => {
                let sampled = usage::sample(&self.root, &self.mount_roots).unwrap_or_else(|error| {
                    tracing::warn!(%error, "index and quarantine not measured; their previous sizes stay in use");
                    last.map(|(_, sampled)| sampled).unwrap_or_default()
                });
                accounts.sampled = Some((Instant::now(), sampled));
                sampled
            }
        }
    }
}

/// Reserved bytes, which are given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    promised: u64,
    /// Of these, the bytes that the filesystem has allocated.
    staged: u64,
    ledger: Arc<Ledger>,
}

impl Reservation {
    /// Records that the filesystem allocated `taken` bytes for `promised` ones.
    pub(super) fn settle(&mut self, promised: u64, taken: u64) {
        let promised = promised.min(self.promised);
        let mut accounts = self.ledger.accounts.lock();
        accounts.promised -= promised;
        accounts.staged += taken;
        drop(accounts);
        self.promised -= promised;
        self.staged += taken;
    }

    /// Adds another reservation to this one.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.promised += std::mem::take(&mut other.promised);
        self.staged += std::mem::take(&mut other.staged);
    }

    /// Returns the bytes that are reserved and not yet allocated.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.promised
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts.lock();
        accounts.promised -= self.promised;
        accounts.staged -= self.staged;
    }
}
