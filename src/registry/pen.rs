//! Writing a staged file while it is hashed, one write under way while the next bytes arrive.

use std::{fs::File, sync::Arc};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    oci::Hasher,
    storage::{self, Staged},
};

/// Bytes collected while a write is under way. What has come by the time it ends makes the next one, so that a slow
/// upstream is written chunk by chunk and a fast one in large pieces.
const BATCH: usize = 1 << 20;

/// A staged file and the hash of what is in it.
#[derive(Debug)]
pub(super) struct Pen {
    staged: Staged,
    hasher: Hasher,
    written: u64,
}

impl Pen {
    pub(super) fn new(staged: Staged, hasher: Hasher) -> Self {
        Self { staged, hasher, written: 0 }
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.staged.file()
    }

    /// Bytes in the file, all of which the hasher has seen.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    pub(super) fn into_parts(self) -> (Staged, Hasher) {
        (self.staged, self.hasher)
    }

    fn write(&mut self, batch: &[Bytes]) -> Result<(), storage::Error> {
        batch.iter().try_for_each(|bytes| {
            self.staged.write_at(bytes, self.written)?;
            self.hasher.update(bytes);
            self.written += bytes.len() as u64;
            Ok(())
        })
    }
}

/// The pen with the failure that stopped it: what was written before is intact.
pub(super) type Blotted = (Box<Pen>, storage::Error);

type Writing = JoinHandle<(Box<Pen>, Result<(), storage::Error>)>;

/// A pen that writes behind its user's back.
pub(super) struct Writer {
    hand: Hand,
    batch: Vec<Bytes>,
    batched: usize,
    taken: u64,
}

enum Hand {
    Idle(Box<Pen>),
    Writing(Writing),
    /// Only while it changes from one to the other, or after a failure.
    Empty,
}

impl Writer {
    pub(super) fn new(pen: Pen) -> Self {
        Self { taken: pen.written(), hand: Hand::Idle(Box::new(pen)), batch: Vec::new(), batched: 0 }
    }

    /// Bytes written, being written, or waiting to be.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn has_room(&self) -> bool {
        self.batched < BATCH
    }

    /// Whether something is being written.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.hand, Hand::Writing(_))
    }

    /// Takes the next bytes, and begins to write them if nothing else is being written.
    pub(super) fn take(&mut self, bytes: Bytes) {
        self.taken += bytes.len() as u64;
        self.batched += bytes.len();
        self.batch.push(bytes);
        self.start();
    }

    fn start(&mut self) {
        if self.batch.is_empty() || self.is_busy() {
            return;
        }
        if let Hand::Idle(mut pen) = std::mem::replace(&mut self.hand, Hand::Empty) {
            let batch = std::mem::take(&mut self.batch);
            self.batched = 0;
            self.hand = Hand::Writing(spawn_blocking(move || {
                let result = pen.write(&batch);
                (pen, result)
            }));
        }
    }

    /// Waits for the write under way and begins the next one; tells how much is in the file. Never ends when nothing is
    /// being written. Cancelling it loses nothing.
    pub(super) async fn written(&mut self) -> Result<u64, Blotted> {
        let Hand::Writing(writing) = &mut self.hand else { return std::future::pending().await };
        let joined = writing.await;
        self.hand = Hand::Empty;
        let pen = unblotted(joined)?;
        let written = pen.written;
        self.hand = Hand::Idle(pen);
        self.start();
        Ok(written)
    }

    /// Writes all that was taken and gives the pen back.
    pub(super) async fn finish(mut self) -> Result<Pen, Blotted> {
        while self.is_busy() {
            self.written().await?;
        }
        match self.hand {
            Hand::Idle(pen) => Ok(*pen),
            // A writer whose write failed gave its pen away with the error and is not finished by anyone.
            Hand::Writing(_) | Hand::Empty => unreachable!("an idle writer holds its pen"),
        }
    }
}

fn unblotted(
    joined: Result<(Box<Pen>, Result<(), storage::Error>), tokio::task::JoinError>,
) -> Result<Box<Pen>, Blotted> {
    match joined {
        Ok((pen, Ok(()))) => Ok(pen),
        Ok((pen, Err(error))) => Err((pen, error)),
        // The fill's job dies of it, and with it the fill: that is what a bug in the write should do.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
