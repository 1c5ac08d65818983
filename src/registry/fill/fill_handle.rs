//! The fill: one fetch per digest, whatever the number of clients (law 5). Which fills there are, and who follows
//! which, is in `fills.rs`; the work itself in `fill_job.rs`.
//!
//! A fill writes a staged file on one of the upstream threads and tells how far it has come; every client, the first
//! included, reads that file behind it at its own pace (`reader.rs`). Nothing a client does reaches the fill. The last
//! byte is withheld until the digest is right (law 4); then the file is published and the fill's place in the map is
//! freed, in this order, so that whoever looks finds one or the other.

use std::{
    fs::File,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::{
    fetch::FetchRequest,
    origin::{Origin, Right},
    progress::Progress,
    range_windows::RangeFetches,
};
use crate::{
    oci::{Digest, Repository},
    registry::{Kept, Refused, store::access_tracker::ReadGuard},
};

/// How far ahead of a fill a range must begin to be fetched by itself.
const FAR_AHEAD: u64 = 32 << 20;
/// A fill that will be there within this time is waited for.
const SOON: Duration = Duration::from_secs(10);
/// For how long a fill is measured before that is said of it.
const MEASURED: Duration = Duration::from_millis(500);

/// A fill as its readers see it.
#[derive(Debug)]
pub(in crate::registry) struct Fill {
    digest: Digest,
    file: OnceLock<Arc<File>>,
    pub(in crate::registry) progress: watch::Sender<Progress>,
    /// Whether the bytes turned out to be here all along.
    pub(in crate::registry) local: OnceLock<()>,
    /// Whether they seemed to be, when it became the blob's fill: somebody may have pushed them.
    pub(in crate::registry) from_disk: OnceLock<()>,
    /// Why the disk does not keep it, where it does not.
    pub(in crate::registry) refused: OnceLock<Refused>,
    origin: Origin,
    /// When the first bytes came, and how many were here before.
    pub(in crate::registry) begun: OnceLock<(Instant, u64)>,
    ranges: RangeFetches,
    passing: Arc<Semaphore>,
    /// Readers follow the staged file long after it is published.
    _reading: ReadGuard,
}

impl Fill {
    pub(in crate::registry) fn new(
        digest: &Digest,
        origin: Origin,
        ranges: RangeFetches,
        passing: Arc<Semaphore>,
        reading: ReadGuard,
    ) -> Self {
        Self {
            digest: *digest,
            file: OnceLock::new(),
            progress: watch::Sender::new(Progress::Connecting),
            local: OnceLock::new(),
            from_disk: OnceLock::new(),
            refused: OnceLock::new(),
            origin,
            begun: OnceLock::new(),
            ranges,
            passing,
            _reading: reading,
        }
    }

    /// Whether a repository whose right is shown so may follow it, once it is the blob's fill.
    pub(in crate::registry) fn is_for(&self, repository: &Repository, right: Option<Right>) -> bool {
        let pushed = self.from_disk.get().is_some();
        self.origin.repository == *repository || right == Some(Right::Own) || (right == Some(Right::Named) && !pushed)
    }

    /// What it fetches.
    pub(in crate::registry) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The staged file, once there is one.
    pub(in crate::registry) fn file(&self) -> Option<Arc<File>> {
        self.file.get().map(Arc::clone)
    }

    /// Shows readers the staged file.
    pub(in crate::registry) fn set_file(&self, file: Arc<File>) {
        let _ = self.file.set(file);
    }

    /// What was fetched ahead of it.
    pub(in crate::registry) fn ranges(&self) -> &RangeFetches {
        &self.ranges
    }

    /// Turns to pass bytes on that the disk does not take.
    pub(in crate::registry) fn passing(&self) -> &Arc<Semaphore> {
        &self.passing
    }

    /// Whether it comes to the offset `at` much later than somebody should wait, if it
    /// goes on as it did; it has come to `visible`. What is near is waited for in any
    /// case.
    pub(in crate::registry) fn is_far_from(&self, at: u64, visible: u64) -> bool {
        let Some((since, from)) = self.begun.get() else { return false };
        let (took, came) = (since.elapsed(), visible.saturating_sub(*from));
        let late = || (at - visible) as f64 * took.as_secs_f64() > came as f64 * SOON.as_secs_f64();
        at >= visible + FAR_AHEAD && took > MEASURED && late()
    }

    /// The time in which it comes to the offset `at`, an hour at most, if it goes on as it did; it has come to
    /// `visible`. `None` while that cannot be told.
    pub(in crate::registry) fn time_to(&self, at: u64, visible: u64) -> Option<Duration> {
        let (since, from) = self.begun.get()?;
        let seconds =
            since.elapsed().as_secs_f64() * at.saturating_sub(visible) as f64 / visible.checked_sub(*from)? as f64;
        seconds.is_finite().then(|| Duration::from_secs_f64(seconds.min(3600.)))
    }

    pub(in crate::registry) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether nothing was fetched after all: the bytes were on disk and only had to be checked.
    pub(in crate::registry) fn was_local(&self) -> bool {
        self.local.get().is_some()
    }

    /// Whether the disk keeps it, as far as is known: what is on its way is being stored.
    pub(in crate::registry) fn kept(&self) -> Kept {
        self.refused.get().map_or(Kept::Stored, |why| Kept::Refused(*why))
    }

    /// Follows the fill; one that nobody follows ends after a while.
    pub(in crate::registry) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What to fetch of it, from a byte on.
    pub(in crate::registry) fn wanted(&self, from: u64, until: Option<u64>) -> FetchRequest {
        let Origin { mirror, repository, size, .. } = &self.origin;
        let (mirror, name) = (mirror.clone(), repository.name.clone());
        FetchRequest { mirror, name, digest: self.digest, from, until, size: *size }
    }

    pub(in crate::registry) fn is_open(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Connecting | Progress::Filling { .. })
    }
}
