//! The channel for the responses to a request, from the work to the connection.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::AdminResponse;

/// The most responses queued for a slow client; beyond it, the work waits.
const MAX_QUEUED_RESPONSES: usize = 256;

/// The work's end of the channel.
pub(super) struct Answers {
    sender: mpsc::Sender<AdminResponse>,
    stalled: Stalled,
}

/// True if the client is connected but does not read.
pub(super) type Stalled = Arc<AtomicBool>;

impl Answers {
    /// Returns both ends. The connection sets the flag before it drops its end because of a client that does not read.
    pub(super) fn channel() -> (Self, mpsc::Receiver<AdminResponse>, Stalled) {
        let (sender, waiting) = mpsc::channel(MAX_QUEUED_RESPONSES);
        let stalled = Stalled::default();
        (Self { sender, stalled: Arc::clone(&stalled) }, waiting, stalled)
    }

    /// Sends a response from blocking work, and returns `Break` if the request is to be cancelled: when the client has
    /// left, not when it only stops reading.
    pub(super) fn send(&self, answer: AdminResponse) -> ControlFlow<()> {
        match self.sender.blocking_send(answer) {
            Err(_) if !self.stalled.load(Ordering::SeqCst) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Sends a response from asynchronous work.
    pub(super) async fn queue(&self, answer: AdminResponse) {
        let _ = self.sender.send(answer).await;
    }

    /// Sends a response that may be lost if the client is slow.
    pub(super) fn offer(&self, answer: AdminResponse) {
        let _ = self.sender.try_send(answer);
    }

    /// Resolves when asynchronous work is to be cancelled, as [`Answers::send`] says.
    pub(super) async fn abandoned(&self) {
        self.sender.closed().await;
        if self.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
