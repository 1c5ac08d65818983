//! Verification: hashes the stored blobs again, at a bounded rate, beside all other work. It is the only way to find
//! bytes that changed while size, time and inode of the file did not.
//!
//! Damaged mirrored blobs are dropped, and the next pull fetches them. Damaged hosted ones are quarantined and reported
//! with their repositories. They are restored from an upstream that has them, too, or by another push.

use std::{
    io,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use crate::{
    metrics::MaintenanceEvent,
    oci::{Digest, Repository},
    registry::{
        Error, ProgressCallback,
        store::{
            blob_store::BlockingStore,
            damage::{RepairResult, names},
        },
    },
    storage::{self, DurableStore, Stored},
};

/// The number of steps of a verification: blobs are verified by the first byte of their digests. Digests are spread
/// evenly, so the steps are about equal, and a clock alone says which one is due: neither a restart nor a changed
/// interval needs a stored position.
pub const VERIFY_SHARDS: u16 = 256;
const READ_BYTES: usize = 1 << 20;
/// The number of attempts to read a file after I/O errors; `RETRY_DELAY` is the time between them.
const MAX_ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The options of a verification.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The highest rate in bytes a second.
    pub rate: u64,
    /// The steps to verify, in `0..VERIFY_SHARDS`.
    pub steps: Range<u16>,
}

/// An event of a verification, passed to the progress callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The steps done and the bytes read so far.
    Step(u16, u64),
    /// A damaged blob, its outcome, and the repositories that link it.
    Damaged(Digest, RepairResult, Vec<Repository>),
}

/// The totals of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs hashed.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Damaged blobs that were dropped; the next request fetches them again.
    pub dropped: u64,
    /// Damaged blobs in quarantine, until they are pushed again.
    pub quarantined: u64,
    /// Blobs restored from quarantine.
    pub restored: u64,
}

/// The callbacks of a running server: its memory cache and its upstreams.
pub(in crate::registry) struct RepairHooks<'a> {
    /// Drops a blob from the memory cache.
    pub(in crate::registry) forget: &'a dyn Fn(&Digest),
    /// Fetches a blob of a mirrored repository again, durably.
    pub(in crate::registry) restore: &'a dyn Fn(&Digest, &Repository) -> bool,
}

struct Verifier<'a> {
    store: &'a BlockingStore<'a>,
    pace: Pace,
    verified: Verified,
    /// The first read failure, because of which a blob could not be verified.
    unread: Option<storage::Error>,
    hooks: RepairHooks<'a>,
    on_event: ProgressCallback<'a, Checked>,
}

impl Verification {
    /// Hashes the stored blobs. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `on_event` cancels it, [`Error::Storage`] if the disk fails. If single blobs cannot be
    /// read, the others are hashed all the same.
    pub(in crate::registry) fn run(
        &self,
        store: &BlockingStore<'_>,
        hooks: RepairHooks<'_>,
        on_event: ProgressCallback<'_, Checked>,
    ) -> Result<Verified, Error> {
        let pace = Pace { rate: self.rate.max(1), begun: Instant::now(), read: 0 };
        let mut verifier = Verifier { store, pace, verified: Verified::default(), unread: None, hooks, on_event };
        for step in self.steps.clone() {
            verifier.step(u8::try_from(step).unwrap_or(u8::MAX))?;
            let done = step + 1 - self.steps.start;
            verifier.report(Checked::Step(done, verifier.verified.bytes))?;
        }
        if let Some(error) = verifier.unread {
            return Err(error.into());
        }
        if self.steps.end == VERIFY_SHARDS {
            store.volume.metrics.found(MaintenanceEvent::VerifyEnded);
        }
        Ok(verifier.verified)
    }
}

impl Verifier<'_> {
    fn report(&mut self, checked: Checked) -> Result<(), Error> {
        if (self.on_event)(checked).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn step(&mut self, first: u8) -> Result<(), Error> {
        let store = self.store;
        for digest in store.disk.blobs_beginning(first) {
            self.check(&digest?)?;
        }
        let aside: Vec<_> = store.disk.quarantined().collect::<Result<_, _>>()?;
        aside.iter().filter(|digest| digest.as_bytes().first() == Some(&first)).try_for_each(|digest| self.heal(digest))
    }

    fn check(&mut self, digest: &Digest) -> Result<(), Error> {
        let disk = self.store.disk;
        let Some(stored) = disk.blob(digest)? else { return Ok(()) };
        let Some(whole) = self.look_into(&stored, digest, |error| disk.unread(digest, error)) else { return Ok(()) };
        self.verified.blobs += 1;
        self.store.volume.metrics.found(MaintenanceEvent::Verified(stored.stamp.size));
        if whole {
            self.store.settle(digest, &stored)?;
            return Ok(());
        }
        (self.hooks.forget)(digest);
        match self.store.drop_damaged(digest, &stored.stamp)? {
            Some((RepairResult::Dropped, owners)) => {
                self.verified.dropped += 1;
                self.report(Checked::Damaged(*digest, RepairResult::Dropped, owners))
            }
            // Quarantined blobs are handled after this.
            _ => Ok(()),
        }
    }

    /// Returns whether a file's bytes match; `None` if they cannot be read, which does not show that they are damaged.
    /// `unread` names the file in the error of a read.
    fn look_into(
        &mut self,
        stored: &Stored,
        digest: &Digest,
        unread: impl Fn(io::Error) -> storage::Error,
    ) -> Option<bool> {
        for again in (0..MAX_ATTEMPTS).rev() {
            let error = match self.is_whole(stored, digest) {
                Ok(whole) => return Some(whole),
                Err(error) => unread(error),
            };
            // Disks, cables and networks have transient failures.
            if error.is_io_failure() && again > 0 {
                tracing::warn!(%error, "blob could not be read; retrying");
                thread::sleep(RETRY_DELAY);
                continue;
            }
            tracing::error!(%error, "blob could not be verified");
            self.unread.get_or_insert(error);
            break;
        }
        None
    }

    /// Hashes a file at the permitted rate, read from the disk rather than the page cache.
    fn is_whole(&mut self, stored: &Stored, digest: &Digest) -> io::Result<bool> {
        let io = self.store.disk.io();
        stored.file.drop_cached_pages(io);
        let (mut hasher, mut buffer, mut at) = (digest.hasher(), vec![0; READ_BYTES], 0);
        loop {
            let length = stored.file.read_at(io, &mut buffer, at)?;
            if length == 0 {
                return Ok(hasher.finish() == *digest);
            }
            hasher.update(&buffer[..length]);
            at += length as u64;
            self.verified.bytes += length as u64;
            self.pace.wait_for(length as u64);
        }
    }

    /// Restores a quarantined blob that matches its digest: an earlier read failed, or the file was repaired.
    fn take_back(&mut self, digest: &Digest) -> Result<bool, Error> {
        let disk = self.store.disk;
        let Some(aside) = disk.aside(digest)? else { return Ok(false) };
        if self.look_into(&aside, digest, |error| disk.unread_aside(digest, error)) != Some(true) {
            return Ok(false);
        }
        let taken = self.store.take_back(digest)?;
        if taken {
            (self.hooks.forget)(digest);
            self.store.volume.metrics.found(MaintenanceEvent::Restored);
            tracing::info!(%digest, "quarantined blob matches its digest; restored");
        }
        Ok(taken)
    }

    /// Handles a quarantined blob: restores it from its own file or an upstream, releases it if no hosted repository
    /// links it, or reports that it must be pushed again.
    fn heal(&mut self, digest: &Digest) -> Result<(), Error> {
        let owners = self.store.owners(digest)?;
        {
            // A publication of the right bytes checks the quarantine under the same lock.
            let _lock = self.store.protection.locks.digest(digest);
            if self.store.disk.blob_size(digest)?.is_some() || owners.iter().all(|owner| owner.domain.is_some()) {
                self.store.disk.release(digest)?;
                return Ok(());
            }
        }
        let mut restored = self.take_back(digest)?;
        for owner in owners.iter().filter(|owner| owner.domain.is_some()) {
            if !restored && (self.hooks.restore)(digest, owner) {
                restored = self.store.disk.blob_size(digest)?.is_some();
            }
        }
        let outcome = if restored { RepairResult::Restored } else { RepairResult::Quarantined };
        *(if restored { &mut self.verified.restored } else { &mut self.verified.quarantined }) += 1;
        if !restored {
            tracing::error!("{digest} of {} is in quarantine: push it again", names(&owners));
        }
        self.report(Checked::Damaged(*digest, outcome, owners))
    }
}

/// Limits the rate of reads, in bytes a second.
#[derive(Debug)]
struct Pace {
    rate: u64,
    begun: Instant,
    read: u64,
}

impl Pace {
    /// Waits until `more` bytes may have been read.
    fn wait_for(&mut self, more: u64) {
        self.read += more;
        let due = Duration::from_secs_f64(self.read as f64 / self.rate as f64);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
    }
}
