//! The writer of an upload session: a small body is collected, a longer one written while it arrives.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::small_body::{CollectedBody, SmallBody, Unwritten};
use crate::{
    lanes::Lane,
    oci::{Repository, UploadId},
    registry::{
        Error,
        store::{
            blob_store::{BlobStore, BlockingStore},
            gc_guard::PushGuard,
            hashing_writer::{HashState, HashingFile, Writer},
        },
    },
    storage::{DurableStore, Opened, Purpose, UploadAllocation, UploadFile},
};

/// The least and the most bytes of space that a session reserves at a time.
const RESERVATION_STEP_BYTES: (u64, u64) = (1 << 20, 32 << 20);

/// A session opened for writing, by one request at a time. Dropping it keeps the bytes received.
#[derive(Debug)]
pub struct UploadWriter {
    pub(super) repository: Repository,
    pub(super) id: UploadId,
    phase: Phase,
    store: BlobStore,
    /// Protects the blobs pushed before, until the manifest that names them arrives.
    guard: PushGuard,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is written yet, and as long as the body is small nothing is.
    Collecting(CollectedBody),
    Streaming(StreamedBody),
}

/// A body that is written while it arrives.
#[derive(Debug)]
pub(super) struct StreamedBody {
    /// Dropped before the writer, which releases the session: first the unused space is given back.
    allocation: Arc<UploadAllocation>,
    writer: Writer<OwnedMutexGuard<HashState>>,
    store: BlobStore,
}

impl UploadWriter {
    pub(super) fn new(
        repository: Repository,
        id: UploadId,
        state: OwnedMutexGuard<HashState>,
        store: BlobStore,
        guard: PushGuard,
    ) -> Self {
        let body = SmallBody::new(repository.clone(), id, state);
        let phase = Phase::Collecting(CollectedBody::new(body, store.clone()));
        Self { repository, id, phase, store, guard }
    }

    /// Adds the next bytes; waits while too many are queued.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails, [`Error::UploadUnknown`] if
    /// the session has ended.
    pub async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        if let Some(body) = self.small(bytes.len() as u64) {
            body.add(&bytes);
            return Ok(());
        }
        self.streamed().await?.take(bytes).await
    }

    /// Rejects an announced length that does not fit before the client sends it, unless the body is small. Space is
    /// freed only as the bytes arrive, so that an announcement cannot evict the cache.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the bytes do not fit; otherwise as [`UploadWriter::take`].
    pub async fn expect(&mut self, bytes: u64) -> Result<(), Error> {
        if self.small(bytes).is_some() {
            return Ok(());
        }
        self.store.could_fit(Purpose::Hosted, bytes).await?;
        self.streamed().await?.expect(bytes).await
    }

    /// Returns the collected body, if it is small with `more` bytes.
    fn small(&mut self, more: u64) -> Option<&mut SmallBody> {
        match &mut self.phase {
            Phase::Collecting(collected) => collected.body().and_then(|body| body.accepts(more).then_some(body)),
            Phase::Streaming(_) => None,
        }
    }

    /// Returns whether the body is small, and not written yet.
    pub(super) fn is_small(&mut self) -> bool {
        self.small(0).is_some()
    }

    /// Takes out the collected body, unless the body is not small.
    pub(super) fn take_small(&mut self) -> Option<SmallBody> {
        match &mut self.phase {
            Phase::Collecting(collected) => collected.take(),
            Phase::Streaming(_) => None,
        }
    }

    /// Puts back a body that was taken out and could not be written.
    pub(super) fn put_back(&mut self, body: SmallBody) {
        self.phase = Phase::Collecting(CollectedBody::new(body, self.store.clone()));
    }

    /// Returns the guard of an upload whose bytes are written.
    pub(super) fn into_guard(self) -> PushGuard {
        self.guard
    }

    /// Returns the body as one that is written while it arrives, after what was collected of it.
    pub(super) async fn streamed(&mut self) -> Result<&mut StreamedBody, Error> {
        if let Some(body) = self.take_small() {
            self.stream(body).await?;
        }
        match &mut self.phase {
            Phase::Streaming(body) => Ok(body),
            // Opening it failed before.
            Phase::Collecting(_) => Err(Error::UploadUnknown),
        }
    }

    /// Opens the session's file, and writes what was collected.
    async fn stream(&mut self, body: SmallBody) -> Result<(), Error> {
        let (state, collected) = body.into_parts();
        let streamed = StreamedBody::open(&self.store, &self.repository, self.id, state).await?;
        self.phase = Phase::Streaming(streamed);
        match &mut self.phase {
            Phase::Streaming(body) if !collected.is_empty() => body.take(collected.into()).await,
            _ => Ok(()),
        }
    }

    /// Waits until all bytes are written; returns the length of the session.
    ///
    /// # Errors
    /// As [`UploadWriter::take`].
    pub async fn finish(mut self) -> Result<u64, Error> {
        if let Some(body) = self.take_small() {
            match self.store.blocking(Lane::Write, |store| body.write(store)).await? {
                Ok(state) => return Ok(state.written),
                Err(Unwritten::Failed(error)) => return Err(error),
                Err(Unwritten::NoRoom(body)) => self.stream(body).await?,
            }
        }
        Ok(self.written().await?.0.written)
    }

    /// Waits until all bytes of a body that is not small are written; returns the state of their hash, and the
    /// guard of the upload.
    pub(super) async fn written(self) -> Result<(OwnedMutexGuard<HashState>, PushGuard), Error> {
        match self.phase {
            Phase::Streaming(body) => Ok((body.finish().await?, self.guard)),
            Phase::Collecting(_) => Err(Error::UploadUnknown),
        }
    }
}

impl StreamedBody {
    async fn open(
        store: &BlobStore,
        repository: &Repository,
        id: UploadId,
        state: OwnedMutexGuard<HashState>,
    ) -> Result<Self, Error> {
        let place = repository.clone();
        // The lock moves into the work: after a disconnect, opening late must not truncate bytes of the next request.
        let open = move |store: &BlockingStore<'_>| match store.disk.resume_upload(&place, id, state.written)? {
            Opened::Writable(file) => Ok((file, state)),
            Opened::Busy => Err(Error::UploadRange { received: state.written }),
            Opened::Gone => Err(Error::UploadUnknown),
        };
        let (UploadFile { writer, allocation }, state) = store.blocking(Lane::Write, open).await??;
        let writer = Writer::new(HashingFile::new(writer, state), store.execution.lanes().clone());
        Ok(Self { allocation, writer, store: store.clone() })
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        let missing = (self.writer.taken() + bytes.len() as u64).saturating_sub(self.allocation.until());
        if missing > 0 {
            self.reserve_ahead(missing).await?;
        }
        self.writer.take(bytes);
        while !self.writer.accepts_more() {
            self.writer.written().await.map_err(|(_, error)| Error::from(error))?;
        }
        Ok(())
    }

    async fn expect(&self, bytes: u64) -> Result<(), Error> {
        let some = bytes.min(RESERVATION_STEP_BYTES.1);
        let missing = self.writer.taken().saturating_add(some).saturating_sub(self.allocation.until());
        if missing > 0 { self.grow(missing).await } else { Ok(()) }
    }

    /// Reserves the `missing` bytes, and beyond them as many as have arrived so far, within bounds.
    async fn reserve_ahead(&self, missing: u64) -> Result<(), Error> {
        let step = self.writer.taken().clamp(RESERVATION_STEP_BYTES.0, RESERVATION_STEP_BYTES.1).max(missing);
        match self.grow(step).await {
            Err(Error::InsufficientSpace(_)) if step > missing => self.grow(missing).await,
            grown => grown,
        }
    }

    async fn grow(&self, bytes: u64) -> Result<(), Error> {
        let reservation = self.store.reserve(Purpose::Hosted, bytes).await?;
        let allocation = Arc::clone(&self.allocation);
        let grow = move |store: &BlockingStore<'_>| allocation.grow(store.disk.io(), reservation, bytes);
        Ok(self.store.blocking(Lane::Write, grow).await??)
    }

    async fn finish(self) -> Result<OwnedMutexGuard<HashState>, Error> {
        let Self { allocation, writer, store } = self;
        drop(allocation);
        let hashing_file = writer.finish().await.map_err(|(_, error)| Error::from(error))?;
        let end = move |store: &BlockingStore<'_>| {
            hashing_file.end(store.disk.io());
            hashing_file.into_state()
        };
        store.blocking(Lane::Write, end).await
    }
}
