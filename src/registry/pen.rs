//! Writing a file while it is hashed, one write under way while the next bytes arrive.

use std::ops::DerefMut;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::{
    lanes::{Lane, Lanes},
    oci::Hasher,
    storage::{self, Sink},
};

/// Bytes collected while a write is under way. What has come by the time it ends makes the next one, so that a slow
/// sender is written chunk by chunk and a fast one in large pieces. Larger batches are no faster.
const BATCH: usize = 256 << 10;

/// How far a file has been written.
#[derive(Clone, Debug)]
pub(super) struct Ink {
    /// Has seen exactly what was written.
    pub(super) hasher: Hasher,
    /// Bytes in the file, from the start.
    pub(super) written: u64,
}

impl Ink {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { hasher, written: 0 }
    }
}

/// A file that grows, and how far it has. `I` is where the latter is kept: a box for a fill, the lock of its session for
/// an upload, so that the lock is held until a write ends that nobody waits for any more.
#[derive(Debug)]
pub(super) struct Pen<I> {
    sink: Sink,
    ink: I,
}

impl<I: DerefMut<Target = Ink>> Pen<I> {
    pub(super) fn new(sink: Sink, ink: I) -> Self {
        Self { sink, ink }
    }

    pub(super) fn ink(&self) -> &Ink {
        &self.ink
    }

    /// Nothing more is written: room that was taken for more is given back.
    pub(super) fn end(&self) {
        self.sink.end();
    }

    pub(super) fn into_ink(self) -> I {
        self.ink
    }

    fn write(&mut self, batch: &[Bytes]) -> Result<(), storage::Error> {
        batch.iter().try_for_each(|bytes| {
            self.sink.write_at(bytes, self.ink.written)?;
            self.ink.hasher.update(bytes);
            self.ink.written += bytes.len() as u64;
            Ok(())
        })
    }
}

/// The pen with the failure that stopped it: what was written before is intact.
pub(super) type Blotted<I> = (Pen<I>, storage::Error);

type Written<I> = (Pen<I>, Result<(), storage::Error>);

/// A pen that writes behind its user's back.
#[derive(Debug)]
pub(super) struct Writer<I> {
    hand: Hand<I>,
    lanes: Lanes,
    batch: Vec<Bytes>,
    batched: usize,
    taken: u64,
}

#[derive(Debug)]
enum Hand<I> {
    Idle(Pen<I>),
    Writing(JoinHandle<Written<I>>),
    /// Only while it changes from one to the other, or after a failure.
    Empty,
}

impl<I: DerefMut<Target = Ink> + Send + 'static> Writer<I> {
    pub(super) fn new(pen: Pen<I>, lanes: Lanes) -> Self {
        Self { taken: pen.ink.written, hand: Hand::Idle(pen), lanes, batch: Vec::new(), batched: 0 }
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
            self.hand = Hand::Writing(self.lanes.start(Lane::Write, move || {
                let result = pen.write(&batch);
                (pen, result)
            }));
        }
    }

    /// Waits for the write under way and begins the next one; tells how much is in the file. Never ends when nothing is
    /// being written. Cancelling it loses nothing.
    pub(super) async fn written(&mut self) -> Result<u64, Blotted<I>> {
        let Hand::Writing(writing) = &mut self.hand else { return std::future::pending().await };
        let joined = writing.await;
        self.hand = Hand::Empty;
        let pen = unblotted(joined)?;
        let written = pen.ink.written;
        self.hand = Hand::Idle(pen);
        self.start();
        Ok(written)
    }

    /// Writes all that was taken and gives the pen back.
    pub(super) async fn finish(mut self) -> Result<Pen<I>, Blotted<I>> {
        while self.is_busy() {
            self.written().await?;
        }
        match self.hand {
            Hand::Idle(pen) => Ok(pen),
            // A writer whose write failed gave its pen away with the error and is not finished by anyone.
            Hand::Writing(_) | Hand::Empty => unreachable!("an idle writer holds its pen"),
        }
    }
}

fn unblotted<I>(joined: Result<Written<I>, tokio::task::JoinError>) -> Result<Pen<I>, Blotted<I>> {
    match joined {
        Ok((pen, Ok(()))) => Ok(pen),
        Ok((pen, Err(error))) => Err((pen, error)),
        // The caller dies of it, which is what a bug in the write should do.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
