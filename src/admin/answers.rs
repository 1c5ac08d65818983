//! The channel for the responses to a request, from the work to the connection.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::AdminResponse;

/// The most frames queued for a slow client; beyond it, the work waits.
const MAX_QUEUED_FRAMES: usize = 256;
/// The same for bytes of content, of which a frame may have 256 KiB.
const MAX_QUEUED_CHUNKS: usize = 8;
/// The interval of messages while nothing else is sent. A write is how the server notices that its client left.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A part of the response.
pub(super) enum Frame {
    /// A line of JSON.
    Message(AdminResponse),
    /// Bytes of content, which follow a [`AdminResponse::Chunk`].
    Chunk(Bytes),
}

/// The work's end of the channel.
pub(super) struct Answers {
    sender: mpsc::Sender<Frame>,
    stalled: Stalled,
}

/// True if the client is connected but does not read.
pub(super) type Stalled = Arc<AtomicBool>;

/// The client left, or does not read.
#[derive(Debug, thiserror::Error)]
#[error("the client left")]
pub(super) struct ClientGone;

impl Answers {
    /// Returns both ends. The connection sets the flag before it drops its end because of a client that does not read.
    pub(super) fn channel(sends_content: bool) -> (Self, mpsc::Receiver<Frame>, Stalled) {
        let (sender, waiting) = mpsc::channel(if sends_content { MAX_QUEUED_CHUNKS } else { MAX_QUEUED_FRAMES });
        let stalled = Stalled::default();
        (Self { sender, stalled: Arc::clone(&stalled) }, waiting, stalled)
    }

    /// Sends a response from blocking work, and returns `Break` if the request is to be cancelled: when the client has
    /// left, not when it only stops reading.
    pub(super) fn send(&self, answer: AdminResponse) -> ControlFlow<()> {
        match self.sender.blocking_send(Frame::Message(answer)) {
            Err(_) if !self.stalled.load(Ordering::SeqCst) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Sends a response from asynchronous work.
    pub(super) async fn queue(&self, answer: AdminResponse) {
        let _ = self.sender.send(Frame::Message(answer)).await;
    }

    /// Sends bytes of content.
    ///
    /// # Errors
    /// [`ClientGone`] if nobody receives them.
    pub(super) async fn queue_chunk(&self, chunk: Bytes) -> Result<(), ClientGone> {
        self.sender.send(Frame::Chunk(chunk)).await.map_err(|_| ClientGone)
    }

    /// Sends a response that may be lost if the client is slow.
    pub(super) fn offer(&self, answer: AdminResponse) {
        let _ = self.sender.try_send(Frame::Message(answer));
    }

    /// Offers a response from time to time; never returns.
    pub(super) async fn beat(&self, answer: impl Fn() -> AdminResponse) {
        let mut beats = interval(HEARTBEAT_INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.offer(answer());
        }
    }

    /// Resolves when nobody receives responses any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Resolves when asynchronous work is to be cancelled, as [`Answers::send`] says.
    pub(super) async fn abandoned(&self) {
        self.closed().await;
        if self.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
