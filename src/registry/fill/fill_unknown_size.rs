//! Fills a blob of unknown size: neither the upstream's answers nor a manifest give it. The end is found by the digest.
//!
//! A response to a client needs a length, so readers wait until the blob is complete. Space is reserved in steps. If
//! the digest does not match at the end of a body, the body may be cut: the rest is fetched again as long as more bytes
//! arrive.

use std::sync::Arc;

use super::{
    fetch::{self, Event, Events, MAX_ATTEMPTS},
    fill_job::FillJob,
    progress::FillFailure,
    transfer::UnreadTimer,
};
use crate::{
    registry::{
        Error,
        store::{
            blob_store::BlobStore,
            hashing_writer::{HashState, HashingFile, Writer},
        },
    },
    storage::{Purpose, Reservation, Staged},
    upstream::Client,
};

/// Bytes reserved ahead of the bytes written.
const RESERVATION_STEP_BYTES: u64 = 4 << 20;

/// The space reserved for a growing file.
#[derive(Default)]
struct GrowingReservation {
    /// One reservation for the whole file so far, because `storage.maxobject` applies to it.
    reservation: Option<Reservation>,
    bytes: u64,
}

impl GrowingReservation {
    async fn cover(&mut self, store: &BlobStore, bytes: u64) -> Result<(), Error> {
        if bytes > self.bytes {
            self.bytes = bytes + RESERVATION_STEP_BYTES;
            // Released first: two reservations would count the written bytes twice.
            self.reservation = None;
            self.reservation = Some(store.reserve(Purpose::Mirrored, self.bytes).await.map_err(not_kept)?);
        }
        Ok(())
    }
}

/// Converts the error, since a reader that does not know the blob's size cannot be handed over.
fn not_kept(error: Error) -> Error {
    Error::SizeUnknown(Arc::new(error))
}

impl FillJob {
    /// Fetches a blob to its end; returns its size.
    pub(in crate::registry) async fn fetch_unknown_size(
        &self,
        client: &Client,
        mut events: Events,
    ) -> Result<u64, FillFailure> {
        let (digest, store) = (self.fill.digest(), &self.fills.store);
        let staged = store.stage(digest, Purpose::Mirrored, 0).await.map_err(not_kept)?;
        let (mut state, mut room) = (Box::new(HashState::new(digest.hasher())), GrowingReservation::default());
        for _ in 0..MAX_ATTEMPTS {
            let before = state.written;
            let (written, error) = self.write_to_the_end(events, &staged, state, &mut room).await?;
            state = written;
            if state.hasher.clone().finish() == *digest {
                break;
            }
            match error {
                // The blob has no more bytes.
                Some(Error::BlobUnknown) => break,
                Some(error) => return Err(error.into()),
                None if state.written == before => break,
                None => {}
            }
            events = fetch::start(client.clone(), self.fill.wanted(state.written, None));
        }
        let (size, hasher) = (state.written, state.hasher);
        self.fill.set_file(staged.file());
        self.publish(staged, hasher).await?;
        Ok(size)
    }

    /// Writes events until they end, with the error that ended them.
    async fn write_to_the_end(
        &self,
        mut events: Events,
        staged: &Staged,
        state: Box<HashState>,
        room: &mut GrowingReservation,
    ) -> Result<(Box<HashState>, Option<Error>), FillFailure> {
        let store = &self.fills.store;
        let mut writer = Writer::new(HashingFile::new(staged.writer(), state), store.execution.lanes().clone());
        let mut unread = UnreadTimer::default();
        let end = loop {
            tokio::select! {
                biased;
                written = writer.written() => match written {
                    Ok(_) if unread.is_over(&self.fill) => break Some(Error::Unread),
                    Ok(_) => {}
                    Err((_, error)) => return Err(not_kept(error.into()).into()),
                },
                event = events.recv(), if writer.accepts_more() => match event {
                    Some(Ok(Event::Bytes(bytes))) => {
                        room.cover(store, writer.taken() + bytes.len() as u64).await?;
                        writer.take(bytes);
                    }
                    Some(Ok(Event::Opened { .. })) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                },
            }
        };
        match writer.finish().await {
            Ok(hashing_file) => Ok((hashing_file.into_state(), end)),
            Err((_, error)) => Err(not_kept(error.into()).into()),
        }
    }
}
