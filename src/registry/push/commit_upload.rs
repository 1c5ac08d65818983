//! The commit of an upload session: its bytes are verified, published and linked, and the session is removed.

use tokio::sync::OwnedMutexGuard;

use super::{
    small_body::{Attempt, Unwritten},
    upload_writer::UploadWriter,
};
use crate::{
    lanes::Lane,
    oci::{Algorithm, Digest, Repository, UploadId},
    registry::{
        Error,
        store::{
            blob_store::{BlobStore, BlockingStore},
            hashing::{hash_into, hash_lane},
            hashing_writer::HashState,
            upload_sessions::Sessions,
        },
    },
    storage::{Purpose, Reservation},
};

/// The commit of one session.
pub(super) struct Commit {
    pub(super) store: BlobStore,
    pub(super) sessions: Sessions,
    pub(super) digest: Digest,
}

impl Commit {
    /// Commits a small upload by one piece of work, which goes on if the client disconnects. Returns `None` if the body
    /// has to be written as a large one.
    pub(super) async fn attempt(&self, receiving: &mut UploadWriter) -> Result<Option<Attempt>, Error> {
        if !receiving.is_small() {
            return Ok(None);
        }
        let Self { store, sessions, digest } = self;
        let guard = store.protection.gc_guard.guard_upload(&receiving.repository, Some(digest)).await;
        let lock = store.protection.locks.wait_for_digest(digest).await;
        // Taken out after the waits: until then the bytes of a client that disconnects are kept.
        let Some(body) = receiving.take_small() else { return Ok(None) };
        let (sessions, digest) = (sessions.clone(), *digest);
        let commit = move |store: &BlockingStore<'_>| {
            let _guard = guard;
            body.commit(store, &sessions, &digest, &lock)
        };
        match store.blocking(Lane::Sync, commit).await? {
            Ok(attempt) => Ok(Some(attempt)),
            Err(Unwritten::Failed(error)) => Err(error),
            Err(Unwritten::NoRoom(body)) => {
                receiving.put_back(body);
                Ok(None)
            }
        }
    }

    /// Commits an upload; `written` is the state of its hash, if all bytes are written.
    pub(super) async fn run(
        self,
        mut receiving: UploadWriter,
        written: Option<OwnedMutexGuard<HashState>>,
    ) -> Result<(), Error> {
        let (place, id) = (receiving.repository.clone(), receiving.id);
        let (state, _guard) = match written {
            Some(state) => (state, receiving.into_guard()),
            None => {
                receiving.streamed().await?;
                receiving.written().await?
            }
        };
        self.finish(&place, id, state).await
    }

    /// Commits a session whose bytes are written.
    async fn finish(self, place: &Repository, id: UploadId, state: OwnedMutexGuard<HashState>) -> Result<(), Error> {
        let _reservation = self.reserve(place, id).await?;
        let committed = self.host(place, id, &state).await;
        let (sessions, place) = (self.sessions, place.clone());
        let end = move |store: &BlockingStore<'_>| {
            sessions.end_if_final(store.disk, &place, id, &committed);
            drop(state);
            committed
        };
        self.store.blocking(Lane::Write, end).await?
    }

    /// Reserves the space of the blob's folders and links.
    async fn reserve(&self, place: &Repository, id: UploadId) -> Result<Reservation, Error> {
        let (place, digest) = (place.clone(), self.digest);
        let look = move |store: &BlockingStore<'_>| store.disk.to_copy(&store.disk.uploads(&place).named(id), &digest);
        let copied = self.store.blocking(Lane::Look, look).await??;
        // A session on another filesystem than the blobs is copied, so there must be space for both.
        if copied > 0 {
            drop(self.store.reserve(Purpose::Hosted, copied).await?);
        }
        self.store.reserve_object(Purpose::Hosted, 0).await
    }

    /// Publishes and links the bytes of the session if they hash to the digest.
    async fn host(&self, place: &Repository, id: UploadId, state: &HashState) -> Result<(), Error> {
        let found = received(&self.store, place, id, state, self.digest.algorithm()).await?;
        if found != self.digest {
            return Err(Error::DigestInvalid { given: Box::new(self.digest), found: found.into() });
        }
        let _guard = self.store.protection.gc_guard.guard_upload(place, Some(&self.digest)).await;
        self.store.host_upload(place, id, self.digest).await
    }
}

/// Returns the digest of a session's bytes in the requested algorithm.
async fn received(
    store: &BlobStore,
    place: &Repository,
    upload: UploadId,
    state: &HashState,
    algorithm: Algorithm,
) -> Result<Digest, Error> {
    let hashed = state.hasher.clone().finish();
    if hashed.algorithm() == algorithm {
        return Ok(hashed);
    }
    let place = place.clone();
    let hash = move |store: &BlockingStore<'_>| {
        let upload = store.disk.uploads(&place).named(upload);
        let (mut hasher, file) = (algorithm.hasher(), upload.read()?);
        hash_into(store.disk.io(), &file, &mut hasher).map_err(|error| upload.unread(error))?;
        Ok(hasher.finish())
    };
    store.blocking(hash_lane(state.written), hash).await?
}
