//! Used and reserved bytes. Answers "short by n"; never evicts, never waits.
//!
//! Everything below the root is charged, as it occupies the disk: allocated blocks, once per inode. Data files are told by
//! the floor above, which knows whose they are; folders, links and sessions by the rooms beside, which make them; what
//! others write below the root (the index) is looked at now and then.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    SpaceLimits,
    lock_regions::RegionId,
    short::{Bounded, InsufficientSpace},
    usage::{self, Filesystem, Sampled, Sum, Usage},
};

/// Kept back beside what is counted: a link is on the disk a moment before it is charged, and there may be many at a time.
const SLACK: u64 = 4 << 20;
/// Kept back for the index: at least this much, and so much an object.
const INDEX: u64 = 16 << 20;
const INDEX_AN_OBJECT: u64 = 512;
/// Nothing can be stored in a quota of that or less: as much is kept back.
pub const LEAST_QUOTA: u64 = INDEX + SLACK;
/// How far the index may grow between two looks at it.
const INDEX_STEP: u64 = 4 << 20;
/// How old a look at what others write may be.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// What bytes are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be kept for good: it is refused where nothing can make way.
    Hosted,
    /// To be cached: it is not kept where nothing can make way.
    Mirrored,
}

/// The books of one data directory.
#[derive(Debug)]
pub struct Ledger {
    root: PathBuf,
    /// Where files are staged and set aside: the root, and folders on other filesystems.
    homes: Vec<PathBuf>,
    limits: SpaceLimits,
    accounts: Mutex<Accounts>,
    opened: Instant,
}

#[derive(Debug, Default)]
struct Accounts {
    hosted: Sum,
    mirrored: Sum,
    /// Folders and links.
    links: i64,
    /// What upload sessions hold on disk, but for those that are being written to.
    sessions: i64,
    /// Blocks of staged files, and what sessions grew by.
    staged: u64,
    /// Promised, and not yet taken from the filesystem.
    promised: u64,
    sampled: Option<(Instant, Sampled)>,
    /// Whether all that is on disk is in here.
    known: bool,
    scan: Option<Scan>,
}

/// A look at the whole disk while the books go on. A part that was looked at already counts what happens in it from then
/// on; one that was not yet will be seen as it is then.
#[derive(Debug, Default)]
struct Scan {
    seen: std::collections::HashMap<RegionId, bool>,
    pending: std::collections::HashMap<RegionId, Charge>,
    sum: Charge,
}

/// Bytes added to a part of the tree, or taken from it.
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

/// What changes in the bytes and the number of data files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Of what was pushed here: bytes, objects.
    pub hosted: (i64, i64),
    /// Of what came from upstreams: bytes, objects.
    pub mirrored: (i64, i64),
}

impl Ledger {
    pub(super) fn new(root: &Path, homes: Vec<PathBuf>, limits: SpaceLimits) -> Self {
        Self { root: root.to_owned(), homes, limits, accounts: Mutex::default(), opened: Instant::now() }
    }

    /// The filesystem that most bytes go to: of all shelves that have none of their own.
    fn disk(&self) -> Filesystem {
        let is_prefix_dir = |home: &Path| {
            let above = home.parent();
            above.is_some_and(|above| above.ends_with("v2/blobs/sha256") || above.ends_with("v2/blobs/sha512"))
        };
        Filesystem::of(self.homes.iter().rfind(|home| !is_prefix_dir(home)).unwrap_or(&self.root))
    }

    /// Sets `bytes` aside until the reservation is dropped.
    ///
    /// # Errors
    /// [`InsufficientSpace`], when they do not fit.
    pub fn reserve(self: Arc<Self>, purpose: Purpose, bytes: u64) -> Result<Reservation, InsufficientSpace> {
        let mut accounts = self.accounts.lock();
        if let Some(short) = self.short(&mut accounts, purpose, bytes) {
            return Err(short);
        }
        accounts.promised += bytes;
        drop(accounts);
        Ok(Reservation { promised: bytes, staged: 0, ledger: self })
    }

    /// By how much mirrored content is beyond what it may be, now.
    #[must_use]
    pub fn overdraft(&self) -> u64 {
        let mut accounts = self.accounts.lock();
        if !accounts.known {
            return 0;
        }
        self.short(&mut accounts, Purpose::Mirrored, 0).map_or(0, |short| short.by)
    }

    /// How long the directory has been open.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    fn short(&self, accounts: &mut Accounts, purpose: Purpose, bytes: u64) -> Option<InsufficientSpace> {
        let sampled = self.sample(accounts);
        let disk = self.disk();
        let spoken_for = self.limits.headroom(disk.size).saturating_add(accounts.promised);
        let free = disk.free.saturating_sub(spoken_for);
        let used = accounts.used(&sampled);
        let refused = |bounded, allowed| {
            Some(InsufficientSpace { by: bytes, bounded, leased: None, used, aside: 0, allowed, needed: bytes })
        };
        if purpose == Purpose::Mirrored && bytes > self.limits.object(disk.size) {
            return refused(Bounded::Object, self.limits.object(disk.size));
        }
        if purpose == Purpose::Mirrored && !accounts.known {
            return refused(Bounded::Unknown, self.limits.mirrored(disk.size));
        }
        // What others took of the headroom has to be given back as well, or evicting `by` bytes would not help.
        let by = bytes.saturating_add(spoken_for).saturating_sub(disk.free);
        let allowed = used.saturating_add(free);
        let (leased, aside, needed) = (None, accounts.promised, bytes);
        let by_disk = InsufficientSpace { by, bounded: Bounded::Filesystem, leased, used, aside: 0, allowed, needed };
        let kept_back = accounts.promised + accounts.kept_back(&sampled);
        let (bounded, used, aside, allowed) = match (self.limits.quota, purpose) {
            (Some(quota), _) if accounts.known => (Bounded::Quota, used, kept_back, quota.of(disk.size)),
            // Not more than whatever is on the filesystem, then.
            (Some(quota), _) => (Bounded::Unknown, disk.size - disk.free, kept_back, quota.of(disk.size)),
            (None, Purpose::Mirrored) => {
                (Bounded::Share, accounts.mirrored.bytes() + accounts.staged, aside, self.limits.mirrored(disk.size))
            }
            (None, Purpose::Hosted) => (Bounded::Filesystem, 0, 0, u64::MAX),
        };
        let by = (used + aside).saturating_add(bytes).saturating_sub(allowed);
        let by_bound = InsufficientSpace { by, bounded, leased, used, aside, allowed, needed };
        Some(if by_bound.by > by_disk.by { by_bound } else { by_disk }).filter(|short| short.by > 0)
    }

    /// What is used, and what may be.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut accounts = self.accounts.lock();
        if let Some((at, _)) = &mut accounts.sampled {
            // As it is now.
            *at = at.checked_sub(SAMPLE_EVERY).unwrap_or(*at);
        }
        let sampled = self.sample(&mut accounts);
        let disk = self.disk();
        Usage {
            hosted: accounts.hosted,
            mirrored: accounts.mirrored,
            links: accounts.links.max(0).unsigned_abs(),
            staged: accounts.staged + accounts.sessions.max(0).unsigned_abs(),
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

    /// Data files came, went, or changed hands.
    pub fn change(&self, change: Change) {
        let mut accounts = self.accounts.lock();
        accounts.hosted.add(change.hosted);
        accounts.mirrored.add(change.mirrored);
    }

    /// Takes over what was known when the directory was closed; what happened since it was opened comes on top.
    pub fn resume(&self, totals: &[i64; 6]) {
        let mut accounts = self.accounts.lock();
        accounts.hosted.add((totals[0], totals[1]));
        accounts.mirrored.add((totals[2], totals[3]));
        accounts.links += totals[4];
        accounts.sessions += totals[5];
        accounts.known = true;
    }

    /// What [`Ledger::resume`] takes, if all is known.
    #[must_use]
    pub fn totals(&self) -> Option<[i64; 6]> {
        let accounts = self.accounts.lock();
        let (hosted, mirrored) = (accounts.hosted.signed(), accounts.mirrored.signed());
        accounts.known.then_some([hosted.0, hosted.1, mirrored.0, mirrored.1, accounts.links, accounts.sessions])
    }

    /// Says whether all data files are told. While they are not, nothing new is cached.
    pub fn set_known(&self, known: bool) {
        self.accounts.lock().known = known;
    }

    /// Forgets all data files and counts these.
    pub fn recount(&self, change: Change) {
        let mut accounts = self.accounts.lock();
        (accounts.hosted, accounts.mirrored) = (Sum::default(), Sum::default());
        accounts.hosted.add(change.hosted);
        accounts.mirrored.add(change.mirrored);
    }

    /// Folders, links or sessions of one part of the tree came or went. The caller holds the part's lock.
    pub(super) fn charge(&self, region: RegionId, charge: Charge) {
        let mut accounts = self.accounts.lock();
        accounts.links += charge.links;
        accounts.sessions += charge.sessions;
        if let Some(scan) = &mut accounts.scan {
            let slot =
                if scan.seen.contains_key(&region) { &mut scan.sum } else { scan.pending.entry(region).or_default() };
            *slot += charge;
        }
    }

    /// Begins to look at the whole disk.
    pub(super) fn begin_scan(&self) {
        self.accounts.lock().scan = Some(Scan::default());
    }

    /// What a part of the tree was found to hold. The caller holds the part's lock.
    pub(super) fn scanned(&self, region: RegionId, found: Charge) {
        if let Some(scan) = &mut self.accounts.lock().scan {
            scan.pending.remove(&region);
            scan.seen.insert(region, true);
            scan.sum += found;
        }
    }

    /// Forgets what was found until something could not be looked at.
    pub(super) fn abandon_scan(&self) {
        self.accounts.lock().scan = None;
    }

    /// Takes what was found for what is there; returns by how many bytes the books were wrong.
    pub(super) fn end_scan(&self) -> i64 {
        let mut accounts = self.accounts.lock();
        let Some(mut scan) = accounts.scan.take() else { return 0 };
        // Parts that were begun after the list of parts was made.
        scan.pending.values().for_each(|charge| scan.sum += *charge);
        let drift = accounts.links + accounts.sessions - scan.sum.links - scan.sum.sessions;
        (accounts.links, accounts.sessions) = (scan.sum.links, scan.sum.sessions);
        drift
    }

    /// What a session held becomes a staged file's: counted as the reservation's from now on.
    pub(super) fn take_session(self: Arc<Self>, region: RegionId, bytes: u64) -> Reservation {
        self.charge(region, Charge { sessions: -i64::try_from(bytes).unwrap_or(i64::MAX), links: 0 });
        self.accounts.lock().staged += bytes;
        Reservation { promised: 0, staged: bytes, ledger: self }
    }

    fn sample(&self, accounts: &mut Accounts) -> Sampled {
        match accounts.sampled {
            Some((at, sampled)) if at.elapsed() < SAMPLE_EVERY => sampled,
            last => {
                let sampled = usage::sample(&self.root, &self.homes).unwrap_or_else(|error| {
                    tracing::warn!("the index and the quarantine are counted as they were: {error}");
                    last.map(|(_, sampled)| sampled).unwrap_or_default()
                });
                accounts.sampled = Some((Instant::now(), sampled));
                sampled
            }
        }
    }
}

impl Accounts {
    /// What is on disk.
    fn used(&self, sampled: &Sampled) -> u64 {
        let told = self.links + self.sessions + self.hosted.signed().0 + self.mirrored.signed().0;
        told.max(0).unsigned_abs() + self.staged + sampled.total()
    }

    /// What is kept back for what nobody reserves.
    fn kept_back(&self, sampled: &Sampled) -> u64 {
        let objects = self.hosted.objects() + self.mirrored.objects();
        let index = INDEX.max(objects * INDEX_AN_OBJECT).max(sampled.index + INDEX_STEP);
        index.saturating_sub(sampled.index) + SLACK
    }
}

/// Bytes set aside; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    promised: u64,
    /// Of these, what the filesystem has given: no longer promised, but on the disk.
    staged: u64,
    ledger: Arc<Ledger>,
}

impl Reservation {
    /// The filesystem has given `taken` bytes for `promised` ones.
    pub(super) fn settle(&mut self, promised: u64, taken: u64) {
        let promised = promised.min(self.promised);
        let mut accounts = self.ledger.accounts.lock();
        accounts.promised -= promised;
        accounts.staged += taken;
        drop(accounts);
        self.promised -= promised;
        self.staged += taken;
    }

    /// Adds another one to this.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.promised += std::mem::take(&mut other.promised);
        self.staged += std::mem::take(&mut other.staged);
    }

    /// How many bytes are promised and not yet taken.
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
