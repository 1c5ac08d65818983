//! The handle of a fill: one fetch per digest, whatever the number of clients (law 5 of ARCHITECTURE.md). `fills.rs`
//! has the fills under way, `fill_job.rs` the work.
//!
//! A fill writes a staged file on an upstream thread and publishes its progress. Every client, the first included,
//! reads that file at its own pace (`reader.rs`) and cannot affect the fill. The last byte is withheld until the digest
//! is verified (law 4). The file is published before the fill is removed from the map, so that a lookup finds one or
//! the other.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::{
    fetch::FetchRequest,
    fill_source::{FillSource, Right},
    progress::FillProgress,
    range_windows::RangeFetches,
};
use crate::{
    oci::{Digest, Repository},
    registry::{Refused, StoreResult, store::access_tracker::ReadGuard},
    storage::BlobFile,
};

/// The distance ahead of a fill from which a range is fetched separately.
const FAR_AHEAD_BYTES: u64 = 32 << 20;
/// A reader waits for a fill that will arrive within this time.
const MAX_FILL_WAIT: Duration = Duration::from_secs(10);
/// The time after which the speed of a fill is known well enough.
const SPEED_SAMPLE: Duration = Duration::from_millis(500);

/// A fill as its readers see it.
#[derive(Debug)]
pub(in crate::registry) struct Fill {
    digest: Digest,
    file: OnceLock<Arc<BlobFile>>,
    pub(in crate::registry) progress: watch::Sender<FillProgress>,
    /// Set if the bytes turned out to be on disk already.
    pub(in crate::registry) local: OnceLock<()>,
    /// Set if bytes were on disk when the fill was established; they may have been pushed.
    pub(in crate::registry) from_disk: OnceLock<()>,
    /// The reason that the disk does not keep it, if so.
    pub(in crate::registry) refused: OnceLock<Refused>,
    source: FillSource,
    /// The time of the first bytes, and the number of bytes present before.
    pub(in crate::registry) begun: OnceLock<(Instant, u64)>,
    ranges: RangeFetches,
    passing: Arc<Semaphore>,
    /// Readers use the staged file long after it is published.
    _reading: ReadGuard,
}

impl Fill {
    pub(in crate::registry) fn new(
        digest: &Digest,
        source: FillSource,
        ranges: RangeFetches,
        passing: Arc<Semaphore>,
        reading: ReadGuard,
    ) -> Self {
        Self {
            digest: *digest,
            file: OnceLock::new(),
            progress: watch::Sender::new(FillProgress::Connecting),
            local: OnceLock::new(),
            from_disk: OnceLock::new(),
            refused: OnceLock::new(),
            source,
            begun: OnceLock::new(),
            ranges,
            passing,
            _reading: reading,
        }
    }

    /// Returns whether a repository with this right may follow the fill, once it is established.
    pub(in crate::registry) fn is_for(&self, repository: &Repository, right: Option<Right>) -> bool {
        let pushed = self.from_disk.get().is_some();
        self.source.repository == *repository || right == Some(Right::Own) || (right == Some(Right::Named) && !pushed)
    }

    /// Returns the digest of the blob.
    pub(in crate::registry) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the staged file, once there is one.
    pub(in crate::registry) fn file(&self) -> Option<Arc<BlobFile>> {
        self.file.get().map(Arc::clone)
    }

    /// Makes the staged file available to readers.
    pub(in crate::registry) fn set_file(&self, file: Arc<BlobFile>) {
        let _ = self.file.set(file);
    }

    /// Returns the ranges fetched ahead of it.
    pub(in crate::registry) fn ranges(&self) -> &RangeFetches {
        &self.ranges
    }

    /// Returns the permits for passing bytes through that the disk does not keep.
    pub(in crate::registry) fn passing(&self) -> &Arc<Semaphore> {
        &self.passing
    }

    /// Returns whether the fill, now at `visible`, reaches the offset `at` too late for a reader to wait, at its speed
    /// so far. Near offsets are always waited for.
    pub(in crate::registry) fn is_far_from(&self, at: u64, visible: u64) -> bool {
        let Some((since, from)) = self.begun.get() else { return false };
        let (took, came) = (since.elapsed(), visible.saturating_sub(*from));
        let late = || (at - visible) as f64 * took.as_secs_f64() > came as f64 * MAX_FILL_WAIT.as_secs_f64();
        at >= visible + FAR_AHEAD_BYTES && took > SPEED_SAMPLE && late()
    }

    /// Estimates the time until the fill, now at `visible`, reaches the offset `at`: an hour at most; `None` while its
    /// speed is unknown.
    pub(in crate::registry) fn time_to(&self, at: u64, visible: u64) -> Option<Duration> {
        let (since, from) = self.begun.get()?;
        let seconds =
            since.elapsed().as_secs_f64() * at.saturating_sub(visible) as f64 / visible.checked_sub(*from)? as f64;
        seconds.is_finite().then(|| Duration::from_secs_f64(seconds.min(3600.)))
    }

    pub(in crate::registry) fn source(&self) -> &FillSource {
        &self.source
    }

    /// Returns whether nothing was fetched, because the bytes were on disk and only had to be verified.
    pub(in crate::registry) fn was_local(&self) -> bool {
        self.local.get().is_some()
    }

    /// Returns whether the disk keeps the blob. A fill still under way counts as stored.
    pub(in crate::registry) fn kept(&self) -> StoreResult {
        self.refused.get().map_or(StoreResult::Stored, |why| StoreResult::Refused(*why))
    }

    /// Subscribes to the progress. A fill without subscribers ends after a while.
    pub(in crate::registry) fn follow(&self) -> watch::Receiver<FillProgress> {
        self.progress.subscribe()
    }

    /// Returns the request for its bytes from an offset on.
    pub(in crate::registry) fn wanted(&self, from: u64, until: Option<u64>) -> FetchRequest {
        let FillSource { upstream, repository, size, .. } = &self.source;
        let (upstream, name) = (upstream.clone(), repository.name.clone());
        FetchRequest {
            upstream,
            name,
            digest: self.digest,
            from,
            until,
            split_unless_ranges_fetched: None,
            size: *size,
        }
    }

    pub(in crate::registry) fn is_open(&self) -> bool {
        matches!(*self.progress.borrow(), FillProgress::Connecting | FillProgress::Filling { .. })
    }
}
