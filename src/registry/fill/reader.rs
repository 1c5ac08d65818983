//! A client's reader of a blob: an iterator of slices, each a permission to send bytes up to an offset (law 5 of
//! ARCHITECTURE.md).
//!
//! A stored blob is one slice of the whole range. A fill gives slices as it grows, and from the windows fetched ahead
//! of it. Once the disk is full, the bytes themselves are passed through.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    fill_handle::Fill,
    passthrough::Passthrough,
    progress::{FillFailure, FillProgress},
    range_fetch,
};
use crate::{
    lanes::{Blocking, Lane, Lanes},
    oci::ByteRange,
    registry::{Error, store::access_tracker::ReadGuard},
    storage::{self, BlobFile},
};

/// The interval at which a waiting reader checks the speed of its fill.
const SPEED_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Up to this distance ahead of its fill, a reader is woken by every step of it.
const NEAR_BYTES: u64 = 1 << 20;
/// The shortest sleep of a reader; below it, the reader waits for the next step instead.
const MIN_SLEEP: Duration = Duration::from_millis(5);

/// The next bytes that may be sent.
#[derive(Debug)]
pub enum ReadSlice {
    /// The bytes of this file from the reader's offset up to `until`.
    File {
        /// Open, shared, never changed up to `until`.
        file: Arc<BlobFile>,
        /// One past the last byte that may be sent.
        until: u64,
    },
    /// These bytes. The reader's offset is already behind them.
    Bytes(Bytes),
}

/// The position of one client in one range of a blob.
#[derive(Debug)]
pub struct Reader {
    at: u64,
    end: u64,
    feed: Feed,
}

#[derive(Debug)]
enum Feed {
    Stored(Arc<BlobFile>, #[expect(dead_code, reason = "lives as long as the reader")] Arc<ReadGuard>),
    Following(Following),
    Passthrough(Passthrough),
    Memory(Bytes),
}

#[derive(Debug)]
struct Following {
    fill: Arc<Fill>,
    progress: watch::Receiver<FillProgress>,
    ranges: watch::Receiver<()>,
    /// `true` if the range begins ahead of the fill. Only such a reader gets the unhashed windows: one that follows the
    /// fill from its start would receive a complete but unverified body.
    begins_ahead: bool,
}

impl Reader {
    pub(in crate::registry) fn stored(file: Arc<BlobFile>, reading: Arc<ReadGuard>, range: ByteRange) -> Self {
        Self { at: range.start, end: range.end, feed: Feed::Stored(file, reading) }
    }

    pub(in crate::registry) fn in_memory(bytes: Bytes, range: ByteRange) -> Self {
        Self { at: range.start, end: range.end, feed: Feed::Memory(bytes) }
    }

    pub(in crate::registry) fn following(
        fill: Arc<Fill>,
        progress: watch::Receiver<FillProgress>,
        range: ByteRange,
    ) -> Self {
        let begins_ahead = range.start > progress.borrow().visible();
        let following = Following { ranges: fill.ranges().follow(), fill, progress, begins_ahead };
        Self { at: range.start, end: range.end, feed: Feed::Following(following) }
    }

    /// Returns the offset of the next byte to send.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Advances the reader after `bytes` of a [`ReadSlice::File`] were read.
    pub fn advance(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Waits for the next slice, which is never empty; `None` at the end of the range.
    ///
    /// # Errors
    /// The fill's [`Error`] if the rest is unavailable or damaged: the response must then not look complete.
    pub async fn next(&mut self) -> Result<Option<ReadSlice>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        loop {
            let next = match &mut self.feed {
                Feed::Stored(file, _) => Next::File { file: Arc::clone(file), until: self.end },
                Feed::Following(following) => following.next(self.at, self.end).await?,
                Feed::Memory(bytes) => Next::Bytes(part(bytes, self.at..self.end)?),
                Feed::Passthrough(through) => Next::Bytes(through.next(self.at, self.end).await?),
            };
            match next {
                Next::File { file, until } => return Ok(Some(ReadSlice::File { file, until: until.min(self.end) })),
                Next::Bytes(bytes) => {
                    self.at += bytes.len() as u64;
                    return Ok(Some(ReadSlice::Bytes(bytes)));
                }
                Next::Passthrough(through) => self.feed = Feed::Passthrough(through),
            }
        }
    }

    /// Waits for the next bytes, of a file at most so many; `None` at the end of the range.
    ///
    /// # Errors
    /// Those of [`Reader::next`], and [`Error::Storage`] if the file cannot be read.
    pub async fn next_bytes(&mut self, lanes: &Lanes, most: usize) -> Result<Option<Bytes>, Error> {
        let (file, until) = match self.next().await? {
            None => return Ok(None),
            Some(ReadSlice::Bytes(bytes)) => return Ok(Some(bytes)),
            Some(ReadSlice::File { file, until }) => (file, until),
        };
        let at = self.at;
        let mut buffer = vec![0; usize::try_from(until - at).unwrap_or(usize::MAX).min(most)];
        let read = move |io: &Blocking| file.read_exact_at(io, &mut buffer, at).map(|()| buffer);
        let read = lanes.run(Lane::Read, read).await.map_err(|_| Error::Panicked)?;
        let read = read.map_err(|source| storage::Error::Io { path: "a blob's file".into(), source })?;
        self.advance(read.len() as u64);
        Ok(Some(read.into()))
    }
}

fn part(bytes: &Bytes, range: Range<u64>) -> Result<Bytes, Error> {
    let offset = |at| usize::try_from(at).ok().filter(|at| *at <= bytes.len()).ok_or(Error::Panicked);
    Ok(bytes.slice(offset(range.start)?..offset(range.end)?))
}

enum Next {
    File {
        file: Arc<BlobFile>,
        until: u64,
    },
    Bytes(Bytes),
    /// Replaces the fill, which has ended.
    Passthrough(Passthrough),
}

impl Following {
    async fn next(&mut self, at: u64, end: u64) -> Result<Next, Error> {
        loop {
            self.ranges.mark_unchanged();
            let progress = self.progress.borrow_and_update().clone();
            let visible = progress.visible();
            if let (true, Some(file)) = (visible > at, self.fill.file()) {
                return Ok(Next::File { file, until: visible });
            }
            if let (true, Some((file, until))) = (self.begins_ahead && at > visible, self.fill.ranges().available(at)) {
                return Ok(Next::File { file, until });
            }
            match progress {
                FillProgress::Failed(FillFailure::Error(error)) => return Err(error),
                FillProgress::Failed(FillFailure::Superseded(_)) => return Err(Error::Panicked),
                FillProgress::Failed(FillFailure::NoSpace(handover)) => {
                    return Ok(Next::Passthrough(Passthrough::take_over(&self.fill, &handover, at, end)));
                }
                FillProgress::Filling { size, .. } if self.fill.is_far_from(at, visible) => {
                    range_fetch::begin(&self.fill, at, size);
                }
                FillProgress::Connecting | FillProgress::Filling { .. } | FillProgress::Verified { .. } => {}
            }
            self.wait(at, visible).await?;
        }
    }

    /// Waits for progress of the fill, or for a window ahead of it, and at most [`SPEED_CHECK_INTERVAL`], since a fill
    /// may have become slow. A fill makes up to thousands of steps a second. A reader far ahead of it sleeps for half
    /// the estimated time instead, because many such readers would keep the threads busy.
    async fn wait(&mut self, at: u64, visible: u64) -> Result<(), Error> {
        let there = self.fill.time_to(at, visible).filter(|_| at > visible + NEAR_BYTES);
        let pause = there.map_or(SPEED_CHECK_INTERVAL, |there| (there / 2).min(SPEED_CHECK_INTERVAL));
        let each_step = pause < MIN_SLEEP || there.is_none();
        tokio::select! {
            changed = self.progress.changed(), if each_step => changed.map_err(|_| Error::Panicked),
            changed = self.ranges.changed() => changed.map_err(|_| Error::Panicked),
            () = tokio::time::sleep(pause.max(MIN_SLEEP)) => Ok(()),
        }
    }
}
