//! How much is asked of one upstream at once, by all threads together: one that does not answer keeps its own askers waiting,
//! and nobody else's.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Error;

/// Blobs that are fetched at once. More wait for their turn, however long.
const BODIES: usize = 1024;
/// Other questions that are open at once.
pub(super) const HEADS: usize = if cfg!(test) { 24 } else { 768 };
/// How long one of these waits for its turn.
const WAIT: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(5) };

/// A turn to ask, for as long as it lives.
pub(super) type Turn = OwnedSemaphorePermit;

/// The turns of one upstream.
pub(super) struct Turns {
    bodies: Arc<Semaphore>,
    heads: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { bodies: Arc::new(Semaphore::new(BODIES)), heads: Arc::new(Semaphore::new(HEADS)) }
    }

    /// Waits for a turn to fetch a blob.
    pub(super) async fn body(&self) -> Result<Turn, Error> {
        Arc::clone(&self.bodies).acquire_owned().await.map_err(|_| Error::Crowded)
    }

    /// Waits for a turn to ask anything else.
    pub(super) async fn head(&self) -> Result<Turn, Error> {
        let turn = timeout(WAIT, Arc::clone(&self.heads).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(Error::Crowded)
    }
}
