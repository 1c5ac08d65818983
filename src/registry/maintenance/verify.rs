//! The health of the bytes: what is stored is hashed again, at a bounded rate, while everything else goes on. What
//! changed without changing its size, its time or its inode is found here and nowhere else.
//!
//! Damaged mirrored bytes are dropped: the next pull fetches them. Damaged hosted ones are set aside, reported with the
//! repositories they belong to, and restored from an upstream that has them too, or by whoever pushes them again.

use std::{
    io,
    ops::Range,
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};

use crate::{
    metrics::MaintenanceEvent,
    oci::{Digest, Repository},
    registry::{
        Error, ProgressCallback,
        store::{
            blob_store::BlobStore,
            damage::{RepairResult, names},
        },
    },
    storage::{self, Stored},
};

/// Blobs are looked at by the first byte of their digests: each is a step.
pub const VERIFY_SHARDS: u16 = 256;
const READ: usize = 1 << 20;
/// How often a file is read that the disk gives no bytes of, and how long after each time.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// What to look at, and how fast.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Bytes a second, at most.
    pub rate: u64,
    /// Which steps of [`VERIFY_SHARDS`].
    pub steps: Range<u16>,
}

/// What a verification comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// So many steps are done, and so many bytes were read.
    Step(u16, u64),
    /// A blob was damaged: what became of it, and the repositories it belongs to.
    Damaged(Digest, RepairResult, Vec<Repository>),
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged and dropped: they are fetched again when they are asked for.
    pub dropped: u64,
    /// Damaged, and in quarantine until they are pushed again.
    pub quarantined: u64,
    /// Were in quarantine, and are whole again.
    pub restored: u64,
}

/// What a server adds: its memory, and its upstreams.
pub(in crate::registry) struct RepairHooks<'a> {
    /// Forgets what memory has of a blob.
    pub(in crate::registry) forget: &'a dyn Fn(&Digest),
    /// Fetches a blob of a mirrored repository again, durably.
    pub(in crate::registry) restore: &'a dyn Fn(&Digest, &Repository) -> bool,
}

struct Verifier<'a> {
    store: &'a BlobStore,
    pace: Pace,
    verified: Verified,
    /// Why it could not be known of something whether it is right: the first of these failures.
    unread: Option<storage::Error>,
    around: RepairHooks<'a>,
    tell: ProgressCallback<'a, Checked>,
}

impl Verification {
    /// Hashes what is stored. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::Abandoned`] when `tell` wants no more; or as the disk fails. Where single blobs cannot be read, the
    /// others are hashed all the same.
    pub(in crate::registry) fn run(
        &self,
        store: &BlobStore,
        around: RepairHooks<'_>,
        tell: ProgressCallback<'_, Checked>,
    ) -> Result<Verified, Error> {
        let pace = Pace { rate: self.rate.max(1), begun: Instant::now(), read: 0 };
        let mut verifier = Verifier { store, pace, verified: Verified::default(), unread: None, around, tell };
        for step in self.steps.clone() {
            verifier.step(u8::try_from(step).unwrap_or(u8::MAX))?;
            let done = step + 1 - self.steps.start;
            verifier.say(Checked::Step(done, verifier.verified.bytes))?;
        }
        if let Some(error) = verifier.unread {
            return Err(error.into());
        }
        if self.steps.end == VERIFY_SHARDS {
            store.metrics.found(MaintenanceEvent::VerifyEnded);
        }
        Ok(verifier.verified)
    }
}

impl Verifier<'_> {
    fn say(&mut self, checked: Checked) -> Result<(), Error> {
        if (self.tell)(checked).is_break() { Err(Error::Abandoned) } else { Ok(()) }
    }

    fn step(&mut self, first: u8) -> Result<(), Error> {
        let store = self.store;
        for digest in store.storage.blobs_beginning(first) {
            self.check(&digest?)?;
        }
        let aside: Vec<_> = store.storage.quarantined().collect::<Result<_, _>>()?;
        aside.iter().filter(|digest| digest.as_bytes().first() == Some(&first)).try_for_each(|digest| self.heal(digest))
    }

    fn check(&mut self, digest: &Digest) -> Result<(), Error> {
        let Some(stored) = self.store.storage.blob(digest)? else { return Ok(()) };
        let Some(whole) = self.look_into(&stored, digest) else { return Ok(()) };
        self.verified.blobs += 1;
        self.store.metrics.found(MaintenanceEvent::Verified(stored.facts.size));
        if whole {
            self.store.settle(digest, &stored);
            return Ok(());
        }
        (self.around.forget)(digest);
        match self.store.drop_damaged(digest, &stored.facts)? {
            Some((RepairResult::Dropped, owners)) => {
                self.verified.dropped += 1;
                self.say(Checked::Damaged(*digest, RepairResult::Dropped, owners))
            }
            // What is in quarantine comes next.
            _ => Ok(()),
        }
    }

    /// Whether a file's bytes are right; `None` where that is not known: bytes that
    /// cannot be read say nothing of themselves.
    fn look_into(&mut self, stored: &Stored, digest: &Digest) -> Option<bool> {
        for again in (0..TRIES).rev() {
            let error = match self.is_whole(stored, digest) {
                Ok(whole) => return Some(whole),
                Err(error) => self.store.storage.unread(digest, error),
            };
            // Disks, cables and networks fail for a moment, too.
            if error.is_io_failure() && again > 0 {
                tracing::warn!("{error}: it is read again");
                thread::sleep(PAUSE);
                continue;
            }
            tracing::error!("{error}");
            self.unread.get_or_insert(error);
            break;
        }
        None
    }

    /// Hashes a file at the pace that is allowed, from the disk rather than from memory.
    fn is_whole(&mut self, stored: &Stored, digest: &Digest) -> io::Result<bool> {
        let _ = fadvise(&*stored.file, 0, None, Advice::DontNeed);
        let (mut hasher, mut buffer, mut at) = (digest.hasher(), vec![0; READ], 0);
        loop {
            let length = stored.file.read_at(&mut buffer, at)?;
            if length == 0 {
                return Ok(hasher.finish() == *digest);
            }
            hasher.update(&buffer[..length]);
            at += length as u64;
            self.verified.bytes += length as u64;
            self.pace.keep(length as u64);
        }
    }

    /// Takes back what was set aside and turns out to be right: an earlier reading of it failed, or somebody repaired
    /// it.
    fn take_back(&mut self, digest: &Digest) -> Result<bool, Error> {
        let Some(aside) = self.store.storage.aside(digest)? else { return Ok(false) };
        if self.look_into(&aside, digest) != Some(true) {
            return Ok(false);
        }
        let taken = self.store.take_back(digest)?;
        if taken {
            (self.around.forget)(digest);
            self.store.metrics.found(MaintenanceEvent::Restored);
            tracing::info!("{digest} was set aside and is right: it is taken back");
        }
        Ok(taken)
    }

    /// Something in quarantine: whole after all, or again, if an upstream has it; nobody's any more; or still to be
    /// pushed again.
    fn heal(&mut self, digest: &Digest) -> Result<(), Error> {
        let owners = self.store.owners(digest)?;
        {
            // Whoever publishes right bytes looks for it first.
            let _claim = self.store.locks.digest(digest);
            if self.store.storage.has_blob(digest)? || owners.iter().all(|owner| owner.domain.is_some()) {
                self.store.storage.release(digest)?;
                return Ok(());
            }
        }
        let mut restored = self.take_back(digest)?;
        for owner in owners.iter().filter(|owner| owner.domain.is_some()) {
            if !restored && (self.around.restore)(digest, owner) {
                restored = self.store.storage.has_blob(digest)?;
            }
        }
        let outcome = if restored { RepairResult::Restored } else { RepairResult::Quarantined };
        *(if restored { &mut self.verified.restored } else { &mut self.verified.quarantined }) += 1;
        if !restored {
            tracing::error!("{digest} of {} is in quarantine: push it again", names(&owners));
        }
        self.say(Checked::Damaged(*digest, outcome, owners))
    }
}

/// So many bytes a second.
#[derive(Debug)]
struct Pace {
    rate: u64,
    begun: Instant,
    read: u64,
}

impl Pace {
    /// Waits until `more` bytes may have been read.
    fn keep(&mut self, more: u64) {
        self.read += more;
        let due = Duration::from_secs_f64(self.read as f64 / self.rate as f64);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}
