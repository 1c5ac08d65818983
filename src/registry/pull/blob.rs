//! A blob whose size is known, from memory, its file, or a fill under way.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::{
    lanes::Lanes,
    oci::ByteRange,
    registry::{
        CacheStatus, Error, StoreResult,
        fill::{
            fill_handle::Fill,
            fill_source::FillSource,
            progress::{FillFailure, FillProgress},
            reader::Reader,
        },
        store::{access_tracker::ReadGuard, blob_store::BlobBytes},
    },
    storage::BlobFile,
};

/// Blobs up to this many bytes are answered only after they are complete.
const MAX_BUFFERED_BLOB_BYTES: u64 = 64 << 10;
/// The interval at which the progress of a fill is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A blob whose size is known, ready to be read.
#[derive(Debug)]
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    /// Its source: the cache, an upstream, or a hosted repository.
    pub cache_status: CacheStatus,
    content: BlobContent,
}

#[derive(Debug)]
enum BlobContent {
    Stored(Arc<BlobFile>, Arc<ReadGuard>),
    Filling(Arc<Fill>, tokio::sync::watch::Receiver<FillProgress>),
    /// All bytes, verified, and whether the disk has them, too.
    Memory(Bytes, StoreResult),
}

impl Blob {
    pub(in crate::registry) fn stored(stored: BlobBytes, reading: ReadGuard, cache_status: CacheStatus) -> Self {
        let size = stored.size();
        let content = match stored {
            BlobBytes::Memory(bytes) => BlobContent::Memory(bytes, StoreResult::Stored),
            BlobBytes::File(stored) => BlobContent::Stored(stored.file, Arc::new(reading)),
        };
        Self { size, cache_status, content }
    }

    /// Returns a range of it if it is in memory.
    #[must_use]
    pub fn in_memory(&self, range: ByteRange) -> Option<Bytes> {
        let BlobContent::Memory(bytes, _) = &self.content else { return None };
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// Returns whether the disk does not keep it, so that every range read is fetched from the upstream.
    #[must_use]
    pub fn passes_through(&self) -> bool {
        match &self.content {
            BlobContent::Stored(..) | BlobContent::Memory(..) => false,
            BlobContent::Filling(_, progress) => {
                matches!(*progress.borrow(), FillProgress::Failed(FillFailure::NoSpace(_)))
            }
        }
    }

    /// Reads a range of it.
    #[must_use]
    pub fn read(&self, range: ByteRange) -> Reader {
        match &self.content {
            BlobContent::Stored(file, reading) => Reader::stored(Arc::clone(file), Arc::clone(reading), range),
            BlobContent::Filling(fill, progress) => Reader::following(Arc::clone(fill), progress.clone(), range),
            BlobContent::Memory(bytes, _) => Reader::in_memory(bytes.clone(), range),
        }
    }

    /// Waits until all of it is stored, without reading it, and reports the bytes so far from time to time. Returns
    /// whether the disk keeps it.
    ///
    /// # Errors
    /// The fill's [`Error`].
    pub(in crate::registry) async fn stored_whole(
        &mut self,
        mut on_progress: impl FnMut(u64),
    ) -> Result<StoreResult, Error> {
        let (fill, progress) = match &mut self.content {
            BlobContent::Stored(..) => return Ok(StoreResult::Stored),
            BlobContent::Memory(_, kept) => return Ok(*kept),
            BlobContent::Filling(fill, progress) => (fill, progress),
        };
        let has_ended =
            |progress: &FillProgress| matches!(progress, FillProgress::Verified { .. } | FillProgress::Failed(_));
        loop {
            let ended = timeout(PROGRESS_INTERVAL, progress.wait_for(has_ended)).await;
            let Ok(ended) = ended.map(|ended| ended.map(|state| state.clone())) else {
                on_progress(progress.borrow().visible());
                continue;
            };
            return match ended.map_err(|_| Error::Panicked)? {
                FillProgress::Failed(FillFailure::Error(error)) => Err(error),
                FillProgress::Failed(FillFailure::NoSpace(_)) => Ok(StoreResult::Nothing),
                FillProgress::Verified { .. } => Ok(fill.kept()),
                _ => Err(Error::Panicked),
            };
        }
    }

    /// Reads a small blob that the disk does not keep into memory, so that wrong bytes are found before anything is
    /// sent.
    pub(super) async fn buffered(self, lanes: &Lanes) -> Result<Self, Error> {
        if !self.passes_through() || self.size > MAX_BUFFERED_BLOB_BYTES {
            return Ok(self);
        }
        let mut reader = self.read(ByteRange { start: 0, end: self.size });
        let mut bytes = BytesMut::new();
        // The disk may have taken the beginning.
        while let Some(more) = reader.next_bytes(lanes, usize::MAX).await? {
            bytes.extend_from_slice(&more);
        }
        Ok(Self { content: BlobContent::Memory(bytes.freeze(), StoreResult::Nothing), ..self })
    }
}

/// Waits until a fill knows the blob's size, and compares it with the manifest's. Waits for the end of a small or empty
/// blob: while nothing is sent, damaged bytes can still be answered with an error status.
pub(super) async fn begun(fill: Arc<Fill>, joined: bool, source: &FillSource) -> Result<Blob, FillFailure> {
    let mut progress = fill.follow();
    let has_begun = |progress: &FillProgress| match progress {
        FillProgress::Connecting => false,
        FillProgress::Filling { size, .. } => *size > MAX_BUFFERED_BLOB_BYTES,
        FillProgress::Verified { .. } | FillProgress::Failed(_) => true,
    };
    let state = progress.wait_for(has_begun).await.map_err(|_| Error::Panicked)?.clone();
    let size = match state {
        FillProgress::Filling { size, .. } | FillProgress::Verified { size } => size,
        FillProgress::Failed(FillFailure::NoSpace(handover)) => handover.size,
        FillProgress::Failed(failure) => return Err(failure),
        FillProgress::Connecting => return Err(Error::Panicked.into()),
    };
    source.agrees(fill.digest(), size)?;
    let cache_status = match fill.was_local() {
        true => CacheStatus::Hit,
        false => CacheStatus::Miss { collapsed: joined, kept: fill.kept() },
    };
    Ok(Blob { size, cache_status, content: BlobContent::Filling(fill, progress) })
}
