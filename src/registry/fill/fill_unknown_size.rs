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
    reservations: Vec<Reservation>,
    /// Their sum.
    bytes: u64,
}

impl GrowingReservation {
    /// Reserves what is missing for `bytes` in all. What was reserved before stays so meanwhile: the bytes are written.
    async fn cover(&mut self, store: &BlobStore, bytes: u64) -> Result<(), Error> {
        if bytes > self.bytes {
            let all = bytes + RESERVATION_STEP_BYTES;
            let more = store.reserve_more(Purpose::Mirrored, self.bytes, all - self.bytes).await.map_err(not_kept)?;
            self.reservations.push(more);
            self.bytes = all;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        registry::{
            EvictionRules,
            disk_tests::{disk, open},
        },
        storage::{Bound, SpaceLimits},
    };

    /// While a growing file waits for its next step, the bytes that it has stay reserved.
    #[tokio::test]
    async fn what_is_written_stays_reserved_while_more_is_waited_for() {
        let dir = TempDir::new().unwrap();
        let limits =
            SpaceLimits { quota: Some(Bound::Bytes(64 << 20)), object: Bound::Share(100), ..SpaceLimits::default() };
        let store = open(&dir, limits, EvictionRules::default());
        let mut growing = GrowingReservation::default();
        growing.cover(&store, 16 << 20).await.unwrap();
        let free = disk(&store).reserve(Purpose::Mirrored, 8 << 20).unwrap();
        let turn = store.space.turn().await;
        // It does not fit, and waits for its turn to evict something.
        let waits = tokio::time::timeout(Duration::from_millis(300), growing.cover(&store, 48 << 20)).await;
        assert!(waits.is_err());
        assert_eq!(disk(&store).usage().promised, (16 << 20) + RESERVATION_STEP_BYTES + (8 << 20));
        drop((turn, free));
        growing.cover(&store, 24 << 20).await.unwrap();
        assert_eq!(disk(&store).usage().promised, (24 << 20) + RESERVATION_STEP_BYTES);
    }

    /// `storage.maxobject` is about the whole file.
    #[tokio::test]
    async fn a_growing_file_is_bounded_as_a_whole() {
        let dir = TempDir::new().unwrap();
        let object = Bound::Bytes(16 << 20);
        let store = open(&dir, SpaceLimits { object, ..SpaceLimits::default() }, EvictionRules::default());
        let mut growing = GrowingReservation::default();
        for mib in (4..=12).step_by(4) {
            growing.cover(&store, mib << 20).await.unwrap();
        }
        growing.cover(&store, 16 << 20).await.unwrap();
        let refused = growing.cover(&store, (16 << 20) + 1).await.unwrap_err().to_string();
        assert!(refused.contains("storage.maxobject: 16777216 bytes"), "{refused}");
    }
}
