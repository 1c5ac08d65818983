//! Bodies that are short enough to be collected in memory. The whole of a small upload is one piece of work on one
//! thread: its session is opened, written, hashed, published, linked and removed there. From lane to lane, the wake-ups
//! between these steps cost more than the steps.

use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

use crate::{
    lanes::Lane,
    oci::{Digest, Repository, UploadId},
    registry::{
        Error,
        space::reserve::LINK_BYTES,
        store::{
            blob_store::{BlobStore, BlockingStore},
            hashing_writer::HashState,
            locks::KeyGuard,
            upload_sessions::Sessions,
        },
    },
    storage::{DurableStore, Opened, Purpose, Reservation, UploadFile},
};

/// The most bytes that are collected. A longer body is written while it arrives.
const MAX_BYTES: u64 = 64 << 10;
/// The most bodies with bytes that are collected at a time: 32 MiB, since a growing buffer may be twice as long as its
/// bytes. Of others each piece is written as it comes.
const MAX_COLLECTED: usize = 256;

/// The permits to collect a body, of the whole process.
static COLLECTED: Semaphore = Semaphore::const_new(MAX_COLLECTED);

/// The bytes of a body that are not written yet, and the lock of their session.
#[derive(Debug)]
pub(super) struct SmallBody {
    repository: Repository,
    id: UploadId,
    state: OwnedMutexGuard<HashState>,
    bytes: Vec<u8>,
    /// Taken with the first bytes.
    permit: Option<SemaphorePermit<'static>>,
}

/// The reason why a body was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Space has to be freed first. Nothing was done.
    NoRoom(SmallBody),
    /// The session is gone, or the disk failed.
    Failed(Error),
}

/// The result of an attempt to commit a session.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The commit succeeded or failed.
    Ended(Result<(), Error>),
    /// All bytes are written, and the session has to be hashed by another algorithm, copied to another filesystem, or
    /// replaced by a blob that exists.
    Undecided(OwnedMutexGuard<HashState>),
}

impl From<Error> for Unwritten {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl SmallBody {
    pub(super) fn new(repository: Repository, id: UploadId, state: OwnedMutexGuard<HashState>) -> Self {
        Self { repository, id, state, bytes: Vec::new(), permit: None }
    }

    /// Returns whether a body is still small with `more` bytes, and may be collected.
    pub(super) fn accepts(&mut self, more: u64) -> bool {
        let is_small = (self.bytes.len() as u64).saturating_add(more) <= MAX_BYTES;
        if is_small && more > 0 && self.permit.is_none() {
            self.permit = COLLECTED.try_acquire().ok();
        }
        is_small && (more == 0 || self.permit.is_some())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn into_parts(self) -> (OwnedMutexGuard<HashState>, Vec<u8>) {
        (self.state, self.bytes)
    }

    /// Appends the bytes to the session. Frees no space for them.
    pub(super) fn write(self, store: &BlockingStore<'_>) -> Result<OwnedMutexGuard<HashState>, Unwritten> {
        match store.disk.reserve(Purpose::Hosted, self.bytes.len() as u64) {
            Ok(reservation) => Ok(self.append(store, reservation)?),
            Err(_) => Err(Unwritten::NoRoom(self)),
        }
    }

    fn append(self, store: &BlockingStore<'_>, reservation: Reservation) -> Result<OwnedMutexGuard<HashState>, Error> {
        let Self { repository, id, mut state, bytes, permit: _permit } = self;
        let UploadFile { writer, allocation } = match store.disk.resume_upload(&repository, id, state.written)? {
            Opened::Writable(file) => file,
            Opened::Busy => return Err(Error::UploadRange { received: state.written }),
            Opened::Gone => return Err(Error::UploadUnknown),
        };
        let length = bytes.len() as u64;
        if length > 0 {
            allocation.grow(store.disk.io(), reservation, length)?;
            writer.write_at(store.disk.io(), &bytes, state.written)?;
            state.hasher.update(&bytes);
            state.written += length;
        }
        allocation.end(store.disk.io());
        Ok(state)
    }

    /// Appends the bytes to the session, then publishes and links it if all of its bytes hash to `digest`, whose lock
    /// the caller holds. The session ends as after any commit.
    pub(super) fn commit(
        self,
        store: &BlockingStore<'_>,
        sessions: &Sessions,
        digest: &Digest,
        lock: &KeyGuard<Digest>,
    ) -> Result<Attempt, Unwritten> {
        let (repository, id) = (self.repository.clone(), self.id);
        let Ok(_links) = store.disk.reserve(Purpose::Hosted, LINK_BYTES) else { return Err(Unwritten::NoRoom(self)) };
        let state = self.write(store)?;
        let committed = match host(store, &repository, id, &state, digest, lock) {
            Ok(true) => Ok(()),
            Ok(false) => return Ok(Attempt::Undecided(state)),
            Err(error) => Err(error),
        };
        sessions.end_if_final(store.disk, &repository, id, &committed);
        drop(state);
        Ok(Attempt::Ended(committed))
    }
}

/// Publishes and links a session's bytes. Returns `false` if that takes more than this thread should do.
fn host(
    store: &BlockingStore<'_>,
    repository: &Repository,
    id: UploadId,
    state: &HashState,
    digest: &Digest,
    lock: &KeyGuard<Digest>,
) -> Result<bool, Error> {
    let found = state.hasher.clone().finish();
    if found.algorithm() != digest.algorithm() {
        return Ok(false);
    }
    if found != *digest {
        return Err(Error::DigestInvalid { given: Box::new(*digest), found: found.into() });
    }
    let upload = store.disk.uploads(repository).named(id);
    if store.disk.to_copy(&upload, digest)? > 0 {
        return Ok(false);
    }
    store.host_first(repository, id, digest, lock)
}

/// A body while it is collected. If its request ends before the body does, the bytes are written nevertheless.
#[derive(Debug)]
pub(super) struct CollectedBody {
    body: Option<SmallBody>,
    store: BlobStore,
}

impl CollectedBody {
    pub(super) fn new(body: SmallBody, store: BlobStore) -> Self {
        Self { body: Some(body), store }
    }

    /// Returns the body, unless it was taken out before.
    pub(super) fn body(&mut self) -> Option<&mut SmallBody> {
        self.body.as_mut()
    }

    /// Takes the body out, to be written by the caller.
    pub(super) fn take(&mut self) -> Option<SmallBody> {
        self.body.take()
    }
}

impl Drop for CollectedBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.bytes.is_empty()) else { return };
        self.store.in_background(Lane::Write, move |store| match body.write(store) {
            Ok(_) => {}
            Err(Unwritten::NoRoom(body)) => tracing::debug!(id = %body.id, "no room for the rest of a broken upload"),
            Err(Unwritten::Failed(error)) => tracing::debug!(%error, "the rest of a broken upload not written"),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{oci::Algorithm, registry::store::hashing_writer::HashState};

    #[tokio::test]
    async fn the_bodies_of_many_clients_are_not_collected_without_end() {
        let body = || async {
            let state = Arc::new(tokio::sync::Mutex::new(HashState::new(Algorithm::Sha256.hasher())));
            let repository = Repository { domain: None, name: "team/app".parse().unwrap() };
            SmallBody::new(repository, UploadId::random(), state.lock_owned().await)
        };
        let mut collected = Vec::new();
        for _ in 0..=MAX_COLLECTED {
            let mut body = body().await;
            assert!(body.accepts(0), "an empty body takes no memory");
            assert!(!body.accepts(MAX_BYTES + 1));
            if body.accepts(MAX_BYTES) {
                collected.push(body);
            }
        }
        assert!(collected.len() <= MAX_COLLECTED && !body().await.accepts(1));
        collected.clear();
        assert!(body().await.accepts(1));
    }
}
