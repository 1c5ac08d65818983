//! Writing a file while it is hashed, one write under way while the next bytes arrive.

use std::ops::DerefMut;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::{
    lanes::{Lane, Lanes},
    oci::Hasher,
    storage::{self, FileWriter},
};

/// Bytes collected while a write is under way. What has come by the time it ends makes the next one, so that a slow
/// sender is written chunk by chunk and a fast one in large pieces. Larger batches are no faster.
const BATCH: usize = 256 << 10;

/// How far a file has been written.
#[derive(Clone, Debug)]
pub(in crate::registry) struct HashState {
    /// Has seen exactly what was written.
    pub(in crate::registry) hasher: Hasher,
    /// Bytes in the file, from the start.
    pub(in crate::registry) written: u64,
}

impl HashState {
    pub(in crate::registry) fn new(hasher: Hasher) -> Self {
        Self { hasher, written: 0 }
    }
}

/// A file that grows, and how far it has. `I` is where the latter is kept: a box for a fill, the lock of its session for
/// an upload, so that the lock is held until a write ends that nobody waits for any more.
#[derive(Debug)]
pub(in crate::registry) struct HashingFile<I> {
    writer: FileWriter,
    state: I,
}

impl<I: DerefMut<Target = HashState>> HashingFile<I> {
    pub(in crate::registry) fn new(writer: FileWriter, state: I) -> Self {
        Self { writer, state }
    }

    pub(in crate::registry) fn state(&self) -> &HashState {
        &self.state
    }

    /// Nothing more is written: room that was taken for more is given back.
    pub(in crate::registry) fn end(&self) {
        self.writer.end();
    }

    pub(in crate::registry) fn into_state(self) -> I {
        self.state
    }

    fn write(&mut self, batch: &[Bytes]) -> Result<(), storage::Error> {
        batch.iter().try_for_each(|bytes| {
            self.writer.write_at(bytes, self.state.written)?;
            self.state.hasher.update(bytes);
            self.state.written += bytes.len() as u64;
            Ok(())
        })
    }
}

/// The pen with the failure that stopped it: what was written before is intact.
pub(in crate::registry) type WriteFailed<I> = (HashingFile<I>, storage::Error);

type Written<I> = (HashingFile<I>, Result<(), storage::Error>);

/// A pen that writes behind its user's back.
#[derive(Debug)]
pub(in crate::registry) struct Writer<I> {
    phase: WriterState<I>,
    lanes: Lanes,
    batch: Vec<Bytes>,
    batched: usize,
    taken: u64,
}

#[derive(Debug)]
enum WriterState<I> {
    Idle(HashingFile<I>),
    Writing(JoinHandle<Written<I>>),
    /// Only while it changes from one to the other, or after a failure.
    Empty,
}

impl<I: DerefMut<Target = HashState> + Send + 'static> Writer<I> {
    pub(in crate::registry) fn new(hashing_file: HashingFile<I>, lanes: Lanes) -> Self {
        Self {
            taken: hashing_file.state.written,
            phase: WriterState::Idle(hashing_file),
            lanes,
            batch: Vec::new(),
            batched: 0,
        }
    }

    /// Bytes written, being written, or waiting to be.
    pub(in crate::registry) fn taken(&self) -> u64 {
        self.taken
    }

    pub(in crate::registry) fn has_room(&self) -> bool {
        self.batched < BATCH
    }

    /// Whether something is being written.
    pub(in crate::registry) fn is_busy(&self) -> bool {
        matches!(self.phase, WriterState::Writing(_))
    }

    /// Takes the next bytes, and begins to write them if nothing else is being written.
    pub(in crate::registry) fn take(&mut self, bytes: Bytes) {
        self.taken += bytes.len() as u64;
        self.batched += bytes.len();
        self.batch.push(bytes);
        self.start();
    }

    fn start(&mut self) {
        if self.batch.is_empty() || self.is_busy() {
            return;
        }
        if let WriterState::Idle(mut hashing_file) = std::mem::replace(&mut self.phase, WriterState::Empty) {
            let batch = std::mem::take(&mut self.batch);
            self.batched = 0;
            self.phase = WriterState::Writing(self.lanes.start(Lane::Write, move || {
                let result = hashing_file.write(&batch);
                (hashing_file, result)
            }));
        }
    }

    /// Waits for the write under way and begins the next one; tells how much is in the file. Never ends when nothing is
    /// being written. Cancelling it loses nothing.
    pub(in crate::registry) async fn written(&mut self) -> Result<u64, WriteFailed<I>> {
        let WriterState::Writing(writing) = &mut self.phase else { return std::future::pending().await };
        let joined = writing.await;
        self.phase = WriterState::Empty;
        let hashing_file = joined_write(joined)?;
        let written = hashing_file.state.written;
        self.phase = WriterState::Idle(hashing_file);
        self.start();
        Ok(written)
    }

    /// Writes all that was taken and gives the pen back.
    pub(in crate::registry) async fn finish(mut self) -> Result<HashingFile<I>, WriteFailed<I>> {
        while self.is_busy() {
            self.written().await?;
        }
        match self.phase {
            WriterState::Idle(hashing_file) => Ok(hashing_file),
            // A writer whose write failed gave its pen away with the error and is not finished by anyone.
            WriterState::Writing(_) | WriterState::Empty => unreachable!("an idle writer holds its pen"),
        }
    }
}

fn joined_write<I>(joined: Result<Written<I>, tokio::task::JoinError>) -> Result<HashingFile<I>, WriteFailed<I>> {
    match joined {
        Ok((hashing_file, Ok(()))) => Ok(hashing_file),
        Ok((hashing_file, Err(error))) => Err((hashing_file, error)),
        // The caller dies of it, which is what a bug in the write should do.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
