//! The transfer of a blob of known size from an upstream into its staged file: bytes are received while those before
//! them are written and hashed.

use std::time::{Duration, Instant};

use super::{
    fetch::{Coming, Event},
    fill_handle::Fill,
    progress::FillProgress,
};
use crate::registry::{
    Error, UnusableAnswer,
    store::hashing_writer::{HashState, WriteFailed, Writer},
};

/// The time that a fill goes on without a reader.
const UNREAD_FILL_TIMEOUT: Duration = Duration::from_secs(600);

/// The bytes and the time after which readers are woken while more bytes are being written. Each wake-up costs every
/// reader, and so would that by each piece.
const SHOWN_BYTES: u64 = 1 << 20;
const SHOWN_INTERVAL: Duration = Duration::from_millis(5);

/// The parts of a transfer under way.
pub(in crate::registry) struct Transfer {
    pub(in crate::registry) coming: Coming,
    pub(in crate::registry) writer: Writer<Box<HashState>>,
    /// The size of the blob in bytes.
    pub(in crate::registry) size: u64,
    pub(in crate::registry) unread: UnreadTimer,
}

/// The reason that a transfer ended early.
pub(in crate::registry) enum Interruption {
    /// The upstream failed, or no client reads the blob. The writer is intact.
    Source(Error),
    /// The disk failed. The bytes written before are intact.
    Disk(WriteFailed<Box<HashState>>),
}

/// An event of a transfer.
enum Step {
    /// The staged file has this many bytes.
    Written(u64),
    /// The writer has more bytes.
    Received,
}

impl Transfer {
    /// Receives and writes until the staged file is complete, and publishes each step to the readers of `fill`.
    pub(in crate::registry) async fn run(&mut self, fill: &Fill) -> Result<(), Interruption> {
        let mut shown = ShownProgress::default();
        while self.writer.taken() < self.size || self.writer.is_busy() {
            let Step::Written(written) = self.step().await? else { continue };
            if shown.is_due(written, self.writer.is_busy()) {
                fill.progress.send_replace(FillProgress::Filling { size: self.size, written });
            }
            if self.unread.is_over(fill) {
                return Err(Error::Unread.into());
            }
        }
        Ok(())
    }

    /// Waits for the end of the write under way, or for the next bytes if the writer accepts more.
    async fn step(&mut self) -> Result<Step, Interruption> {
        let accepts_more = self.writer.accepts_more() && self.writer.taken() < self.size;
        tokio::select! {
            biased;
            written = self.writer.written() => Ok(Step::Written(written?)),
            event = self.coming.next(), if accepts_more => Ok(self.receive(event).map(|()| Step::Received)?),
        }
    }

    fn receive(&mut self, event: Option<Result<Event, Error>>) -> Result<(), Error> {
        match event.ok_or(UnusableAnswer::EndedEarly)?? {
            Event::Opened { .. } => Ok(()),
            Event::Bytes(bytes) => {
                self.writer.take(bytes);
                if self.writer.taken() > self.size { Err(UnusableAnswer::TooLong.into()) } else { Ok(()) }
            }
        }
    }
}

impl From<Error> for Interruption {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

impl From<WriteFailed<Box<HashState>>> for Interruption {
    fn from(failed: WriteFailed<Box<HashState>>) -> Self {
        Self::Disk(failed)
    }
}

/// The progress that readers were last woken for.
#[derive(Default)]
struct ShownProgress(Option<(u64, Instant)>);

impl ShownProgress {
    /// Returns whether readers are woken for this progress. The first is always shown, and one after which no write is
    /// under way: it may be long until the next.
    fn is_due(&mut self, written: u64, is_writing: bool) -> bool {
        let is_due = !is_writing
            || self.0.is_none_or(|(bytes, at)| written >= bytes + SHOWN_BYTES || at.elapsed() >= SHOWN_INTERVAL);
        if is_due {
            self.0 = Some((written, Instant::now()));
        }
        is_due
    }
}

/// Measures for how long a fill has had no reader.
#[derive(Default)]
pub(in crate::registry) struct UnreadTimer(Option<Instant>);

impl UnreadTimer {
    /// Returns whether the fill has had no reader for too long.
    pub(in crate::registry) fn is_over(&mut self, fill: &Fill) -> bool {
        if fill.progress.receiver_count() > 0 {
            self.0 = None;
            return false;
        }
        self.0.get_or_insert_with(Instant::now).elapsed() > UNREAD_FILL_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_woken_by_amounts_by_time_and_before_a_pause() {
        let mut shown = ShownProgress::default();
        assert!(shown.is_due(1, true), "the first bytes are shown at once");
        assert!(!shown.is_due(SHOWN_BYTES, true));
        assert!(shown.is_due(SHOWN_BYTES + 1, true));
        assert!(shown.is_due(SHOWN_BYTES + 2, false), "nothing would show them later");
        std::thread::sleep(SHOWN_INTERVAL);
        assert!(shown.is_due(SHOWN_BYTES + 3, true));
    }
}
