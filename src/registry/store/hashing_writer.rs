//! A writer that hashes the bytes it writes. One write runs on a lane while the next bytes arrive.

use std::{io::IoSlice, ops::DerefMut};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::{
    lanes::{Blocking, Lane, Lanes},
    oci::Hasher,
    storage::{self, FileWriter},
};

/// Bytes collected while a write is under way. They make the next write together, so that bytes of a slow sender are
/// written chunk by chunk and those of a fast one in large pieces. Larger batches are no faster.
const BATCH_BYTES: usize = 256 << 10;

/// The length of a file under construction, and the state of its hash.
#[derive(Clone, Debug)]
pub(in crate::registry) struct HashState {
    /// Has consumed exactly the bytes that were written.
    pub(in crate::registry) hasher: Hasher,
    /// The length of the file in bytes.
    pub(in crate::registry) written: u64,
}

impl HashState {
    pub(in crate::registry) fn new(hasher: Hasher) -> Self {
        Self { hasher, written: 0 }
    }

    /// Hashes the first bytes of `pieces`, which were written.
    fn add(&mut self, pieces: &[IoSlice<'_>], written: usize) {
        let mut left = written;
        for piece in pieces {
            let bytes = &piece[..piece.len().min(left)];
            self.hasher.update(bytes);
            left -= bytes.len();
        }
        self.written += written as u64;
    }
}

/// A file under construction, with its hash state. `I` owns the state: a box for a fill, the session's lock guard for
/// an upload, so that the lock is held until an unattended write ends.
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

    /// Releases space allocated beyond the end, because no more bytes follow.
    pub(in crate::registry) fn end(&self, io: &Blocking) {
        self.writer.end(io);
    }

    pub(in crate::registry) fn into_state(self) -> I {
        self.state
    }

    fn write(&mut self, io: &Blocking, batch: &[Bytes]) -> Result<(), storage::Error> {
        let mut pieces: Vec<_> =
            batch.iter().filter(|bytes| !bytes.is_empty()).map(|bytes| IoSlice::new(bytes)).collect();
        let mut rest = &mut pieces[..];
        while !rest.is_empty() {
            let written = self.writer.write_pieces_at(io, rest, self.state.written)?;
            self.state.add(rest, written);
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }
}

/// A failed write. The file comes back with the error, and the bytes written before are intact.
pub(in crate::registry) type WriteFailed<I> = (HashingFile<I>, storage::Error);

type Written<I> = (HashingFile<I>, Result<(), storage::Error>);

/// Writes batches of bytes to a [`HashingFile`] in the background.
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
    /// Only during a transition, or after a failure.
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

    /// Returns the number of bytes written, being written, or waiting.
    pub(in crate::registry) fn taken(&self) -> u64 {
        self.taken
    }

    pub(in crate::registry) fn accepts_more(&self) -> bool {
        self.batched < BATCH_BYTES
    }

    /// Returns whether a write is under way.
    pub(in crate::registry) fn is_busy(&self) -> bool {
        matches!(self.phase, WriterState::Writing(_))
    }

    /// Adds the next bytes, and begins to write them if no write is under way.
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
            self.phase = WriterState::Writing(self.lanes.start(Lane::Write, move |io| {
                let result = hashing_file.write(io, &batch);
                (hashing_file, result)
            }));
        }
    }

    /// Waits for the write under way, begins the next one, and returns the length of the file. It never completes if no
    /// write is under way. It is cancel-safe.
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

    /// Writes all remaining bytes and returns the file.
    pub(in crate::registry) async fn finish(mut self) -> Result<HashingFile<I>, WriteFailed<I>> {
        while self.is_busy() {
            self.written().await?;
        }
        match self.phase {
            WriterState::Idle(hashing_file) => Ok(hashing_file),
            // A writer whose write failed has returned its file with the error, so the caller cannot finish it.
            WriterState::Writing(_) | WriterState::Empty => unreachable!("an idle writer has its hashing file"),
        }
    }
}

fn joined_write<I>(joined: Result<Written<I>, tokio::task::JoinError>) -> Result<HashingFile<I>, WriteFailed<I>> {
    match joined {
        Ok((hashing_file, Ok(()))) => Ok(hashing_file),
        Ok((hashing_file, Err(error))) => Err((hashing_file, error)),
        // A panic in the write is a bug and propagates to the caller.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
