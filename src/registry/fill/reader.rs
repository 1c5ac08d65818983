//! A client's way through a blob's bytes: a stream of grants, "you may send up to offset X" (law 5).
//!
//! A stored blob is one grant of the whole range; a fill grants as it grows, and what was fetched ahead of it. Once the
//! disk takes no more, bytes come as they are.

use std::{fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    fill_handle::Fill,
    passthrough::Passthrough,
    progress::{Failure, Progress},
    range_fetch,
};
use crate::{
    oci::ByteRange,
    registry::{Error, store::access_tracker::ReadGuard},
};

/// How often a reader that waits looks how quick its fill is.
const LOOK: Duration = Duration::from_millis(250);
/// A reader that is no further ahead of its fill hears of each of its steps.
const NEAR: u64 = 1 << 20;
/// Nor does one sleep that would do so for less than this.
const LEAST: Duration = Duration::from_millis(5);

/// What may be sent next.
#[derive(Debug)]
pub enum ReadSlice {
    /// What this file holds, from the reader's place up to the offset `until`.
    File {
        /// Open, shared, never changed up to `until`.
        file: Arc<File>,
        /// One past the last byte that may be sent.
        until: u64,
    },
    /// These bytes. The reader's place is behind them already.
    Bytes(Bytes),
}

/// One client's place in one range of a blob.
#[derive(Debug)]
pub struct Reader {
    at: u64,
    end: u64,
    feed: Feed,
}

#[derive(Debug)]
enum Feed {
    Stored(Arc<File>, #[expect(dead_code, reason = "lives as long as the reader")] Arc<ReadGuard>),
    Following(Following),
    Passthrough(Passthrough),
}

#[derive(Debug)]
struct Following {
    fill: Arc<Fill>,
    progress: watch::Receiver<Progress>,
    ranges: watch::Receiver<()>,
    /// Whether the range begins ahead of the fill. Only such a reader is given what was
    /// fetched ahead, which nobody hashed: one that follows the fill from its start
    /// would get a complete body of it.
    begins_ahead: bool,
}

impl Reader {
    pub(in crate::registry) fn stored(file: Arc<File>, reading: Arc<ReadGuard>, range: ByteRange) -> Self {
        Self { at: range.start, end: range.end, feed: Feed::Stored(file, reading) }
    }

    pub(in crate::registry) fn following(
        fill: Arc<Fill>,
        progress: watch::Receiver<Progress>,
        range: ByteRange,
    ) -> Self {
        let begins_ahead = range.start > progress.borrow().visible();
        let following = Following { ranges: fill.ranges().follow(), fill, progress, begins_ahead };
        Self { at: range.start, end: range.end, feed: Feed::Following(following) }
    }

    /// The offset of the next byte to send.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Says that `bytes` of a [`ReadSlice::File`] were read.
    pub fn advance(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Waits for the next grant: never an empty one; `None` at the end of the range.
    ///
    /// # Errors
    /// When the rest cannot be had or is not right: what was sent must then not look complete.
    pub async fn next(&mut self) -> Result<Option<ReadSlice>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        loop {
            let next = match &mut self.feed {
                Feed::Stored(file, _) => Next::File { file: Arc::clone(file), until: self.end },
                Feed::Following(following) => following.next(self.at, self.end).await?,
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
}

enum Next {
    File {
        file: Arc<File>,
        until: u64,
    },
    Bytes(Bytes),
    /// The fill ends here; this goes on.
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
                Progress::Failed(Failure::Error(error)) => return Err(error),
                Progress::Failed(Failure::Superseded(_)) => return Err(Error::Abandoned),
                Progress::Failed(Failure::NoSpace(handover)) => {
                    return Ok(Next::Passthrough(Passthrough::take_over(&self.fill, &handover, at, end)));
                }
                Progress::Filling { size, .. } if self.fill.is_far_from(at, visible) => {
                    range_fetch::begin(&self.fill, at, size);
                }
                Progress::Connecting | Progress::Filling { .. } | Progress::Verified { .. } => {}
            }
            self.wait(at, visible).await?;
        }
    }

    /// Waits for the fill to come further, or for what is fetched ahead of it, and looks again now and then: a fill may
    /// have become slow. A fill takes a step for each piece that comes, up to thousands a second: a reader far ahead of
    /// it sleeps for half the time in which the fill may be there instead, since many of them would keep their threads
    /// from all else.
    async fn wait(&mut self, at: u64, visible: u64) -> Result<(), Error> {
        let there = self.fill.time_to(at, visible).filter(|_| at > visible + NEAR);
        let pause = there.map_or(LOOK, |there| (there / 2).min(LOOK));
        tokio::select! {
            changed = self.progress.changed(), if pause < LEAST || there.is_none() => changed.map_err(|_| Error::Abandoned),
            changed = self.ranges.changed() => changed.map_err(|_| Error::Abandoned),
            () = tokio::time::sleep(pause.max(LEAST)) => Ok(()),
        }
    }
}
