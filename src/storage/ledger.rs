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
    Limits,
    parts::PartId,
    short::{Bounded, Short},
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
    limits: Limits,
    books: Mutex<Books>,
    opened: Instant,
}

#[derive(Debug, Default)]
struct Books {
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
    survey: Option<Survey>,
}

/// A look at the whole disk while the books go on. A part that was looked at already counts what happens in it from then
/// on; one that was not yet will be seen as it is then.
#[derive(Debug, Default)]
struct Survey {
    seen: std::collections::HashMap<PartId, bool>,
    pending: std::collections::HashMap<PartId, Charge>,
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
    pub(super) fn new(root: &Path, homes: Vec<PathBuf>, limits: Limits) -> Self {
        Self { root: root.to_owned(), homes, limits, books: Mutex::default(), opened: Instant::now() }
    }

    /// The filesystem that most bytes go to: of all shelves that have none of their own.
    fn disk(&self) -> Filesystem {
        let is_shelf = |home: &Path| {
            let above = home.parent();
            above.is_some_and(|above| above.ends_with("v2/blobs/sha256") || above.ends_with("v2/blobs/sha512"))
        };
        Filesystem::of(self.homes.iter().rfind(|home| !is_shelf(home)).unwrap_or(&self.root))
    }

    /// Sets `bytes` aside until the reservation is dropped.
    ///
    /// # Errors
    /// [`Short`], when they do not fit.
    pub fn reserve(self: Arc<Self>, purpose: Purpose, bytes: u64) -> Result<Reservation, Short> {
        let mut books = self.books.lock();
        if let Some(short) = self.short(&mut books, purpose, bytes) {
            return Err(short);
        }
        books.promised += bytes;
        drop(books);
        Ok(Reservation { promised: bytes, staged: 0, ledger: self })
    }

    /// By how much mirrored content is beyond what it may be, now.
    #[must_use]
    pub fn overdraft(&self) -> u64 {
        let mut books = self.books.lock();
        if !books.known {
            return 0;
        }
        self.short(&mut books, Purpose::Mirrored, 0).map_or(0, |short| short.by)
    }

    /// How long the directory has been open.
    #[must_use]
    pub fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    fn short(&self, books: &mut Books, purpose: Purpose, bytes: u64) -> Option<Short> {
        let sampled = self.sample(books);
        let disk = self.disk();
        let spoken_for = self.limits.headroom(disk.size).saturating_add(books.promised);
        let free = disk.free.saturating_sub(spoken_for);
        let used = books.used(&sampled);
        let refused =
            |bounded, allowed| Some(Short { by: bytes, bounded, leased: None, used, aside: 0, allowed, needed: bytes });
        if purpose == Purpose::Mirrored && bytes > self.limits.object(disk.size) {
            return refused(Bounded::Object, self.limits.object(disk.size));
        }
        if purpose == Purpose::Mirrored && !books.known {
            return refused(Bounded::Unknown, self.limits.mirrored(disk.size));
        }
        // What others took of the headroom has to be given back as well, or evicting `by` bytes would not help.
        let by = bytes.saturating_add(spoken_for).saturating_sub(disk.free);
        let allowed = used.saturating_add(free);
        let (leased, aside, needed) = (None, books.promised, bytes);
        let by_disk = Short { by, bounded: Bounded::Filesystem, leased, used, aside: 0, allowed, needed };
        let kept_back = books.promised + books.kept_back(&sampled);
        let (bounded, used, aside, allowed) = match (self.limits.quota, purpose) {
            (Some(quota), _) if books.known => (Bounded::Quota, used, kept_back, quota.of(disk.size)),
            // Not more than whatever is on the filesystem, then.
            (Some(quota), _) => (Bounded::Unknown, disk.size - disk.free, kept_back, quota.of(disk.size)),
            (None, Purpose::Mirrored) => {
                (Bounded::Share, books.mirrored.bytes() + books.staged, aside, self.limits.mirrored(disk.size))
            }
            (None, Purpose::Hosted) => (Bounded::Filesystem, 0, 0, u64::MAX),
        };
        let by = (used + aside).saturating_add(bytes).saturating_sub(allowed);
        let by_bound = Short { by, bounded, leased, used, aside, allowed, needed };
        Some(if by_bound.by > by_disk.by { by_bound } else { by_disk }).filter(|short| short.by > 0)
    }

    /// What is used, and what may be.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut books = self.books.lock();
        if let Some((at, _)) = &mut books.sampled {
            // As it is now.
            *at = at.checked_sub(SAMPLE_EVERY).unwrap_or(*at);
        }
        let sampled = self.sample(&mut books);
        let disk = self.disk();
        Usage {
            hosted: books.hosted,
            mirrored: books.mirrored,
            links: books.links.max(0).unsigned_abs(),
            staged: books.staged + books.sessions.max(0).unsigned_abs(),
            quarantined: sampled.quarantined,
            index: sampled.index,
            other: sampled.other,
            promised: books.promised,
            quota: self.limits.quota.map(|quota| quota.of(disk.size)),
            share: self.limits.mirrored(disk.size),
            headroom: self.limits.headroom(disk.size),
            known: books.known,
            filesystem: disk,
        }
    }

    /// Data files came, went, or changed hands.
    pub fn change(&self, change: Change) {
        let mut books = self.books.lock();
        books.hosted.add(change.hosted);
        books.mirrored.add(change.mirrored);
    }

    /// Takes over what was known when the directory was closed; what happened since it was opened comes on top.
    pub fn resume(&self, totals: &[i64; 6]) {
        let mut books = self.books.lock();
        books.hosted.add((totals[0], totals[1]));
        books.mirrored.add((totals[2], totals[3]));
        books.links += totals[4];
        books.sessions += totals[5];
        books.known = true;
    }

    /// What [`Ledger::resume`] takes, if all is known.
    #[must_use]
    pub fn totals(&self) -> Option<[i64; 6]> {
        let books = self.books.lock();
        let (hosted, mirrored) = (books.hosted.signed(), books.mirrored.signed());
        books.known.then_some([hosted.0, hosted.1, mirrored.0, mirrored.1, books.links, books.sessions])
    }

    /// Says whether all data files are told. While they are not, nothing new is cached.
    pub fn set_known(&self, known: bool) {
        self.books.lock().known = known;
    }

    /// Forgets all data files and counts these.
    pub fn recount(&self, change: Change) {
        let mut books = self.books.lock();
        (books.hosted, books.mirrored) = (Sum::default(), Sum::default());
        books.hosted.add(change.hosted);
        books.mirrored.add(change.mirrored);
    }

    /// Folders, links or sessions of one part of the tree came or went. The caller holds the part's lock.
    pub(super) fn charge(&self, part: PartId, charge: Charge) {
        let mut books = self.books.lock();
        books.links += charge.links;
        books.sessions += charge.sessions;
        if let Some(survey) = &mut books.survey {
            let slot =
                if survey.seen.contains_key(&part) { &mut survey.sum } else { survey.pending.entry(part).or_default() };
            *slot += charge;
        }
    }

    /// Begins to look at the whole disk.
    pub(super) fn begin_survey(&self) {
        self.books.lock().survey = Some(Survey::default());
    }

    /// What a part of the tree was found to hold. The caller holds the part's lock.
    pub(super) fn surveyed(&self, part: PartId, found: Charge) {
        if let Some(survey) = &mut self.books.lock().survey {
            survey.pending.remove(&part);
            survey.seen.insert(part, true);
            survey.sum += found;
        }
    }

    /// Forgets what was found until something could not be looked at.
    pub(super) fn abandon_survey(&self) {
        self.books.lock().survey = None;
    }

    /// Takes what was found for what is there; returns by how many bytes the books were wrong.
    pub(super) fn end_survey(&self) -> i64 {
        let mut books = self.books.lock();
        let Some(mut survey) = books.survey.take() else { return 0 };
        // Parts that were begun after the list of parts was made.
        survey.pending.values().for_each(|charge| survey.sum += *charge);
        let drift = books.links + books.sessions - survey.sum.links - survey.sum.sessions;
        (books.links, books.sessions) = (survey.sum.links, survey.sum.sessions);
        drift
    }

    /// What a session held becomes a staged file's: counted as the reservation's from now on.
    pub(super) fn take_session(self: Arc<Self>, part: PartId, bytes: u64) -> Reservation {
        self.charge(part, Charge { sessions: -i64::try_from(bytes).unwrap_or(i64::MAX), links: 0 });
        self.books.lock().staged += bytes;
        Reservation { promised: 0, staged: bytes, ledger: self }
    }

    fn sample(&self, books: &mut Books) -> Sampled {
        match books.sampled {
            Some((at, sampled)) if at.elapsed() < SAMPLE_EVERY => sampled,
            last => {
                let sampled = usage::sample(&self.root, &self.homes).unwrap_or_else(|error| {
                    tracing::warn!("the index and the quarantine are counted as they were: {error}");
                    last.map(|(_, sampled)| sampled).unwrap_or_default()
                });
                books.sampled = Some((Instant::now(), sampled));
                sampled
            }
        }
    }
}

impl Books {
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
        let mut books = self.ledger.books.lock();
        books.promised -= promised;
        books.staged += taken;
        drop(books);
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
        let mut books = self.ledger.books.lock();
        books.promised -= self.promised;
        books.staged -= self.staged;
    }
}
