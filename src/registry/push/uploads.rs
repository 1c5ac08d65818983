//! Upload sessions (distribution-spec, "Pushing blobs").
//!
//! A session is a folder on disk; only the state of its hash is kept in memory. One request writes to a session at a
//! time. Bytes that were written count, even if the client disconnected before the response.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    lanes::{Blocking, Lane},
    metrics::{CollectedKind, MaintenanceEvent},
    oci::{Algorithm, Digest, Repository, UploadId},
    registry::{
        Error, Mode, Registry,
        store::{
            blob_store::{BlobStore, BlockingStore},
            gc_guard::PushGuard,
            hashing::{hash_into, hash_lane},
            hashing_writer::{HashState, HashingFile, Writer},
        },
    },
    storage::{self, AppendBytes, Disk, DurableStore, Opened, Purpose, Upload, UploadAllocation, UploadFile},
};

/// Bytes of one read while a session is restored from disk.
const READ_BYTES: usize = 1 << 20;
/// The least and the most bytes of space that a session reserves at a time.
const RESERVATION_STEP_BYTES: (u64, u64) = (1 << 20, 32 << 20);

/// A session opened for writing. Dropping it keeps the bytes written.
#[derive(Debug)]
pub struct UploadWriter {
    repository: Repository,
    id: UploadId,
    /// Dropped before the writer, which releases the session: first the unused space is given back.
    allocation: Arc<UploadAllocation>,
    writer: Writer<OwnedMutexGuard<HashState>>,
    store: BlobStore,
    /// Protects the blobs pushed before, until the manifest that names them arrives.
    guard: PushGuard,
}

impl UploadWriter {
    /// Adds the next bytes; waits while too many are queued.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
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

    /// Rejects an announced length that does not fit before the client sends it. Space is freed only as the bytes
    /// arrive, so that an announcement cannot evict the cache.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the bytes do not fit.
    pub async fn expect(&self, bytes: u64) -> Result<(), Error> {
        self.store.could_fit(Purpose::Hosted, bytes).await?;
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
        Ok(self
            .store
            .blocking(Lane::Write, move |store| allocation.grow(store.disk.io(), reservation, bytes))
            .await??)
    }

    /// Waits until all bytes are written; returns the length of the session.
    ///
    /// # Errors
    /// [`Error::Storage`] if the disk fails.
    pub async fn finish(self) -> Result<u64, Error> {
        let Self { allocation, writer, store, .. } = self;
        let hashing_file = writer.finish().await.map_err(|(_, error)| Error::from(error))?;
        let end = move |store: &BlockingStore<'_>| {
            allocation.end(store.disk.io());
            hashing_file.state().written
        };
        store.blocking(Lane::Write, end).await
    }
}

impl Registry {
    /// Begins a session. It does not claim the repository's name.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn begin_upload(&self, repository: &Repository, id: UploadId, algorithm: Algorithm) -> Result<(), Error> {
        let place = repository.clone();
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let reservation = self.store.reserve(Purpose::Hosted, RESERVATION_STEP_BYTES.0).await?;
        let guard = self.store.protection.gc_guard.guard_upload(repository, None).await;
        let begin = move |store: &BlockingStore<'_>| {
            let _held = (reservation, guard);
            store.disk.begin_upload(&place, id, &started)
        };
        self.store.blocking(Lane::Write, begin).await??;
        self.sessions.0.states.lock().insert(id, Arc::new(AsyncMutex::new(HashState::new(algorithm.hasher()))));
        Ok(())
    }

    /// Returns the number of bytes that a session has received.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub async fn upload_received(&self, repository: &Repository, id: UploadId) -> Result<u64, Error> {
        if self.sessions.0.ended.lock().contains(&id) {
            return Err(Error::UploadUnknown);
        }
        let place = repository.clone();
        let look = move |store: &BlockingStore<'_>| store.disk.upload_size(&place, id);
        self.store.blocking(Lane::Look, look).await??.ok_or(Error::UploadUnknown)
    }

    /// Opens a session for writing; `at` is the offset that the client names, if any.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session, [`Error::UploadRange`] if the offset differs or another
    /// request is writing.
    pub async fn receive(&self, repository: &Repository, id: UploadId, at: Option<u64>) -> Result<UploadWriter, Error> {
        // Checked first, so that an unknown session does not register activity of a repository.
        self.upload_received(repository, id).await?;
        let guard = self.store.protection.gc_guard.guard_upload(repository, None).await;
        let state = self.hold(repository, id).await?;
        if at.is_some_and(|at| at != state.written) {
            return Err(Error::UploadRange { received: state.written });
        }
        let place = repository.clone();
        // The lock moves into the work: after a disconnect, opening late must not truncate bytes of the next request.
        let open = move |store: &BlockingStore<'_>| match store.disk.resume_upload(&place, id, state.written)? {
            Opened::Writable(file) => Ok((file, state)),
            Opened::Busy => Err(Error::UploadRange { received: state.written }),
            Opened::Gone => Err(Error::UploadUnknown),
        };
        let (UploadFile { writer, allocation }, state) = self.store.blocking(Lane::Write, open).await??;
        let writer = Writer::new(HashingFile::new(writer, state), self.store.execution.lanes().clone());
        Ok(UploadWriter { repository: repository.clone(), id, allocation, writer, store: self.store.clone(), guard })
    }

    /// Locks a session while the guard lives.
    async fn hold(&self, repository: &Repository, id: UploadId) -> Result<OwnedMutexGuard<HashState>, Error> {
        match self.state(repository, id).await?.try_lock_owned() {
            Ok(state) => Ok(state),
            Err(_) => Err(Error::UploadRange { received: self.upload_received(repository, id).await? }),
        }
    }

    /// Ends a session: verifies its bytes against `digest`, publishes and links them, and syncs both before it returns
    /// (law 3 of ARCHITECTURE.md). A session with other bytes, or after a disk failure, ends and is removed, too.
    ///
    /// # Errors
    /// [`Error::DigestInvalid`] if the bytes do not match, [`Error::InsufficientSpace`] if the disk is full,
    /// [`Error::Storage`] if it fails.
    pub async fn commit(&self, receiving: UploadWriter, digest: Digest) -> Result<(), Error> {
        let UploadWriter { repository, id, allocation, writer, guard, .. } = receiving;
        drop(allocation);
        let hashing_file = writer.finish().await.map_err(|(_, error)| Error::from(error))?;
        let (sessions, store) = (self.sessions.clone(), self.store.clone());
        // A session on another filesystem than the blobs is copied, so there must be space for both.
        let place = repository.clone();
        let look = move |store: &BlockingStore<'_>| {
            let session = store.disk.uploads(&place).named(id);
            store.disk.to_copy(&session, &digest)
        };
        let copied = self.store.blocking(Lane::Look, look).await??;
        if copied > 0 {
            drop(self.store.reserve(Purpose::Hosted, copied).await?);
        }
        let reservation = self.store.reserve_object(Purpose::Hosted, 0).await?;
        // A task of its own that holds the session's lock: it completes even if the client disconnects.
        let commit = async move {
            let _held = (reservation, guard);
            let end = move |store: &BlockingStore<'_>| {
                hashing_file.end(store.disk.io());
                hashing_file
            };
            let hashing_file = store.blocking(Lane::Write, end).await?;
            let committed = commit(&store, &repository, id, hashing_file.state(), digest).await;
            if is_final(&committed) {
                let remove = move |store: &BlockingStore<'_>| sessions.end(store.disk, &repository, id);
                store.blocking(Lane::Write, remove).await?;
            }
            drop(hashing_file);
            committed
        };
        self.tasks.spawn(commit).await.unwrap_or(Err(Error::Panicked))
    }

    /// Cancels a session and removes it.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session, [`Error::UploadRange`] while another request writes to it.
    pub async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<(), Error> {
        // Checked first, because the lock does not depend on the repository.
        self.upload_received(repository, id).await?;
        let state = self.hold(repository, id).await?;
        let (sessions, place) = (self.sessions.clone(), repository.clone());
        let cancel = move |store: &BlockingStore<'_>| {
            sessions.end(store.disk, &place, id);
            drop(state);
        };
        self.store.blocking(Lane::Write, cancel).await
    }

    /// As [`Registry::cancel_upload`], for a session whose client disconnected before it got the session's location.
    pub fn abandon_upload(self: &Arc<Self>, repository: &Repository, id: UploadId) {
        let (registry, repository) = (Arc::clone(self), repository.clone());
        self.tasks.spawn(async move {
            // A write may still hold the session, or the session is just being created.
            for _ in 0..10 {
                match registry.cancel_upload(&repository, id).await {
                    Err(Error::UploadRange { .. } | Error::UploadUnknown) => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    _ => return,
                }
            }
        });
    }

    /// Removes sessions without activity for `age`; returns their number. In a dry run, only logs them.
    pub fn purge_uploads(&self, io: &Blocking, age: Duration, mode: Mode) -> usize {
        let disk = self.store.with(io).disk;
        let old = |last: &SystemTime| SystemTime::now().duration_since(*last).is_ok_and(|idle| idle > age);
        let purge = |repository: Result<Repository, storage::Error>| -> Result<usize, storage::Error> {
            let Some(repository) = Some(repository?).filter(|repository| repository.domain.is_none()) else {
                return Ok(0);
            };
            let all: Vec<_> = disk.uploads_of(&repository).collect::<Result<_, _>>()?;
            let purge = |id: UploadId| self.purge(disk, &repository, id, mode, old);
            Ok(all.into_iter().filter(|(id, last)| old(last) && purge(*id)).count())
        };
        let purged = disk.repositories().map(|repository| {
            purge(repository).unwrap_or_else(|error| {
                tracing::warn!(%error, "abandoned uploads could not be removed");
                0
            })
        });
        purged.sum()
    }

    /// Purges a session that is still old, unless a request is writing to it.
    fn purge(
        &self,
        disk: Disk<'_>,
        repository: &Repository,
        id: UploadId,
        mode: Mode,
        is_old: impl Fn(&SystemTime) -> bool,
    ) -> bool {
        // A session not written to since the start has no hash state; it gets an empty one, for its lock.
        let state = || Arc::new(AsyncMutex::new(HashState::new(Algorithm::Sha256.hasher())));
        let known = self.sessions.0.states.lock().get(&id).map(Arc::clone);
        let (held, loaded) = (known.clone().unwrap_or_else(state), known.is_some());
        let Ok(_lock) = held.try_lock() else { return false };
        let Ok(_alone) = self.sessions.0.loading.try_lock() else { return false };
        let changed = self.sessions.0.states.lock().contains_key(&id) != loaded;
        let upload = disk.uploads(repository).named(id);
        if changed || !upload.last_activity().is_ok_and(|last| last.is_some_and(|last| is_old(&last))) {
            return false;
        }
        tracing::info!(%id, %repository, "{} an abandoned upload", if mode.is_dry() { "would remove" } else { "removing" });
        if !mode.is_dry() {
            self.sessions.end(disk, repository, id);
            self.metrics.found(MaintenanceEvent::Collected(CollectedKind::Upload, 0));
        }
        true
    }

    /// Returns the hash state of a session, restored from disk if this process has not written to it.
    async fn state(&self, repository: &Repository, id: UploadId) -> Result<Arc<AsyncMutex<HashState>>, Error> {
        let known = || self.sessions.0.states.lock().get(&id).map(Arc::clone);
        if let Some(state) = known() {
            return Ok(state);
        }
        let alone = Arc::clone(&self.sessions.0.loading).lock_owned().await;
        if let Some(state) = known() {
            return Ok(state);
        }
        let (place, sessions) = (repository.clone(), self.sessions.clone());
        // One unit of work, since the client may disconnect.
        let load = move |store: &BlockingStore<'_>| {
            let upload = store.disk.uploads(&place).named(id);
            let state = Arc::new(AsyncMutex::new(read_back(store.disk, &upload)?));
            sessions.0.states.lock().insert(id, Arc::clone(&state));
            drop(alone);
            Ok::<_, Error>(state)
        };
        self.store.blocking(Lane::Hash, load).await?
    }
}

/// Publishes and links the bytes of a session if they hash to `digest`.
async fn commit(
    store: &BlobStore,
    place: &Repository,
    upload: UploadId,
    state: &HashState,
    digest: Digest,
) -> Result<(), Error> {
    let found = received(store, place, upload, state, digest.algorithm()).await?;
    if found != digest {
        return Err(Error::DigestInvalid { given: Box::new(digest), found: found.into() });
    }
    let _guard = store.protection.gc_guard.guard_upload(place, Some(&digest)).await;
    store.host_upload(place, upload, digest).await
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
/// Returns whether a session ends with its commit. A full disk may be temporary, so the session stays. After a failed
/// sync it must end, because a second sync would report success for bytes that are not on the disk.
fn is_final(committed: &Result<(), Error>) -> bool {
    match committed {
        Ok(()) | Err(Error::DigestInvalid { .. }) => true,
        Err(Error::Storage(error)) => error.is_unsynced() || !error.is_full(),
        Err(_) => false,
    }
}

/// Restores a session that another process wrote to, and writes its bytes again. That process may have failed to sync
/// them, and the kernel would then report success for the next sync although they are not on the disk.
fn read_back(disk: Disk<'_>, upload: &Upload<'_>) -> Result<HashState, Error> {
    let received = upload.received()?.ok_or(Error::UploadUnknown)?;
    let session = match upload.writer(received)? {
        Opened::Writable(session) => session,
        Opened::Busy => return Err(Error::UploadRange { received }),
        Opened::Gone => return Err(Error::UploadUnknown),
    };
    let (file, mut buffer, mut state) =
        (upload.read()?, vec![0; READ_BYTES], HashState::new(Algorithm::Sha256.hasher()));
    loop {
        let length = file.read_at(disk.io(), &mut buffer, state.written).map_err(|error| upload.unread(error))?;
        if length == 0 {
            return Ok(state);
        }
        session.append(disk.io(), &buffer[..length], state.written)?;
        state.hasher.update(&buffer[..length]);
        state.written += length as u64;
    }
}
