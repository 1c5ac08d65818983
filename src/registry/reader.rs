//! A client's way through a blob's bytes: a stream of grants, "you may send up to offset X" (law 5).
//!
//! A stored blob is one grant of the whole range; a fill grants as it grows. Bytes that are in no file come as they are:
//! those of a range far ahead of its fill, and everything once the disk takes no more.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Error,
    fill::Fill,
    progress::{Failure, Progress},
    through::Through,
    uses::Reading,
};
use crate::oci::ByteRange;

/// How far ahead of a fill a range must begin to be fetched by itself.
const FAR_AHEAD: u64 = 32 << 20;

/// What may be sent next.
#[derive(Debug)]
pub enum Grant {
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
    Stored(Arc<File>, #[expect(dead_code, reason = "lives as long as the reader")] Arc<Reading>),
    Following(Following),
    Through(Through),
}

#[derive(Debug)]
struct Following {
    fill: Arc<Fill>,
    progress: watch::Receiver<Progress>,
    ahead: Ahead,
}

/// A fetch of its own, for a range that the fill will reach much later.
#[derive(Debug)]
enum Ahead {
    /// Not begun.
    No,
    Under(Through),
    /// It ended or failed; the fill will do.
    Over,
}

impl Reader {
    pub(super) fn stored(file: Arc<File>, reading: Arc<Reading>, range: ByteRange) -> Self {
        Self { at: range.start, end: range.end, feed: Feed::Stored(file, reading) }
    }

    pub(super) fn following(
        fill: Arc<Fill>,
        progress: watch::Receiver<Progress>,
        range: ByteRange,
        ahead: bool,
    ) -> Self {
        let ahead = if ahead { Ahead::No } else { Ahead::Over };
        let following = Following { fill, progress, ahead };
        Self { at: range.start, end: range.end, feed: Feed::Following(following) }
    }

    /// The offset of the next byte to send.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Says that `bytes` of a [`Grant::File`] were read.
    pub fn advance(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// Waits for the next grant: never an empty one; `None` at the end of the range.
    ///
    /// # Errors
    /// When the rest cannot be had or is not right: what was sent must then not look complete.
    pub async fn next(&mut self) -> Result<Option<Grant>, Error> {
        if self.at >= self.end {
            return Ok(None);
        }
        loop {
            let next = match &mut self.feed {
                Feed::Stored(file, _) => Next::File { file: Arc::clone(file), until: self.end },
                Feed::Following(following) => following.next(self.at, self.end).await?,
                Feed::Through(through) => Next::Bytes(through.next(self.at, self.end).await?),
            };
            match next {
                Next::File { file, until } => return Ok(Some(Grant::File { file, until: until.min(self.end) })),
                Next::Bytes(bytes) => {
                    self.at += bytes.len() as u64;
                    return Ok(Some(Grant::Bytes(bytes)));
                }
                Next::Through(through) => self.feed = Feed::Through(through),
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
    Through(Through),
}

impl Following {
    async fn next(&mut self, at: u64, end: u64) -> Result<Next, Error> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let until = progress.visible();
            if let (true, Some(file)) = (until > at, self.fill.file()) {
                self.ahead = Ahead::Over;
                return Ok(Next::File { file, until });
            }
            match progress {
                Progress::Failed(Failure::Error(error)) => return Err(error),
                Progress::Failed(Failure::Superseded) => return Err(Error::Abandoned),
                Progress::Failed(Failure::NoSpace(handover)) => {
                    return Ok(Next::Through(Through::take_over(&self.fill, &handover, at, end)));
                }
                Progress::Filling { size, .. } => self.look_ahead(at, until, end.min(size - 1)),
                Progress::Connecting | Progress::Verified { .. } => {}
            }
            if let Some(bytes) = self.wait(at).await? {
                return Ok(Next::Bytes(bytes));
            }
        }
    }

    /// Begins a fetch of its own where the fill is far behind. The blob's last byte is never part of it: that one waits
    /// for the digest.
    fn look_ahead(&mut self, at: u64, visible: u64, end: u64) {
        if matches!(self.ahead, Ahead::No) && at >= visible + FAR_AHEAD && at < end {
            self.ahead = Ahead::Under(Through::interior(&self.fill, at, end));
        }
    }

    /// Waits for the fill to come further, or for bytes that were fetched ahead of it.
    async fn wait(&mut self, at: u64) -> Result<Option<Bytes>, Error> {
        if let Ahead::Under(through) = &mut self.ahead {
            tokio::select! {
                bytes = through.next(at, u64::MAX) => match bytes {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_) => self.ahead = Ahead::Over,
                },
                changed = self.progress.changed() => changed.map_err(|_| Error::Abandoned)?,
            }
        } else {
            self.progress.changed().await.map_err(|_| Error::Abandoned)?;
        }
        Ok(None)
    }
}
