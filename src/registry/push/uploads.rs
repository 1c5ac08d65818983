//! Upload sessions: distribution-spec, "Pushing blobs".
//!
//! A session is its folder on disk; here lives what would be tedious to find out again, the state of its hash. One
//! request writes to a session at a time. What was written counts, whether or not the client stayed to hear of it.

use std::{
    os::unix::fs::FileExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::{
    lanes::Lane,
    metrics::{Collected, MaintenanceEvent},
    oci::{Algorithm, Digest, Repository, UploadId},
    registry::{
        Error, Registry,
        store::{
            blob_store::BlobStore,
            gc_guard::PushGuard,
            hashing::{hash_into, hash_lane},
            hashing_writer::{HashState, HashingFile, Writer},
        },
    },
    storage::{self, Opened, Purpose, Upload, UploadAllocation},
};

/// How much is read at a time of a session that is read back.
const READ: usize = 1 << 20;
/// How many bytes of room are taken at least and at most for a session, at a time.
const STEP: (u64, u64) = (1 << 20, 32 << 20);

/// A session that is being written to. Dropped, it keeps what has been written.
#[derive(Debug)]
pub struct UploadWriter {
    repository: Repository,
    id: UploadId,
    /// Before the writer, which lets the session go: what was taken and not written is given back first.
    growth: Arc<UploadAllocation>,
    writer: Writer<OwnedMutexGuard<HashState>>,
    store: BlobStore,
    /// However long it takes: what was pushed before it waits for the manifest that names both.
    present: PushGuard,
}

impl UploadWriter {
    /// Takes the next bytes, and waits while too many wait to be written.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        let missing = (self.writer.taken() + bytes.len() as u64).saturating_sub(self.growth.until());
        if missing > 0 {
            self.make_room(missing).await?;
        }
        self.writer.take(bytes);
        while !self.writer.has_room() {
            self.writer.written().await.map_err(|(_, error)| Error::from(error))?;
        }
        Ok(())
    }

    /// A client says how many bytes it will send: it hears at once if they do not fit. Room is made for them as they
    /// come: an announcement must not empty the cache.
    ///
    /// # Errors
    /// When they do not fit.
    pub async fn expect(&self, bytes: u64) -> Result<(), Error> {
        self.store.could_fit(Purpose::Hosted, bytes).await?;
        let some = bytes.min(STEP.1);
        let missing = self.writer.taken().saturating_add(some).saturating_sub(self.growth.until());
        if missing > 0 { self.grow(missing).await } else { Ok(()) }
    }

    /// Makes room for the `missing` bytes, and for as many as came so far, within bounds: nobody knows how many will.
    async fn make_room(&self, missing: u64) -> Result<(), Error> {
        let step = self.writer.taken().clamp(STEP.0, STEP.1).max(missing);
        match self.grow(step).await {
            Err(Error::InsufficientSpace(_)) if step > missing => self.grow(missing).await,
            grown => grown,
        }
    }

    async fn grow(&self, bytes: u64) -> Result<(), Error> {
        let reservation = self.store.reserve(Purpose::Hosted, bytes).await?;
        let growth = Arc::clone(&self.growth);
        Ok(self.store.blocking(Lane::Write, move |_| growth.grow(reservation, bytes)).await??)
    }

    /// Waits until all is written; returns how much the session has received in all.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub async fn finish(self) -> Result<u64, Error> {
        let Self { growth, writer, .. } = self;
        drop(growth);
        let hashing_file = writer.finish().await.map_err(|(_, error)| Error::from(error))?;
        Ok(hashing_file.state().written)
    }
}

impl Registry {
    /// Begins a session of this name. Whose the repository is does not change by that.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub async fn begin_upload(&self, repository: &Repository, id: UploadId, algorithm: Algorithm) -> Result<(), Error> {
        let place = repository.clone();
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let room = self.store.reserve(Purpose::Hosted, STEP.0).await?;
        let present = self.store.gc_guard.guard_repository(repository, None).await;
        let begin = move |store: &BlobStore| {
            let _held = (room, present);
            store.storage.uploads(&place).begin(id, &started)
        };
        self.store.blocking(Lane::Write, begin).await??;
        self.sessions.0.states.lock().insert(id, Arc::new(AsyncMutex::new(HashState::new(algorithm.hasher()))));
        Ok(())
    }

    /// How many bytes a session has received.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`].
    pub async fn upload_received(&self, repository: &Repository, id: UploadId) -> Result<u64, Error> {
        if self.sessions.0.ended.lock().contains(&id) {
            return Err(Error::UploadUnknown);
        }
        let upload = self.store.storage.uploads(repository).named(id);
        self.store.blocking(Lane::Look, move |_| upload.received()).await??.ok_or(Error::UploadUnknown)
    }

    /// Opens a session for writing, at the offset `at` where the client says one.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadRange`], when the session does not stand there or is being written to.
    pub async fn receive(&self, repository: &Repository, id: UploadId, at: Option<u64>) -> Result<UploadWriter, Error> {
        // First whether it is there at all: what is said of a repository is remembered, whatever it is called.
        self.upload_received(repository, id).await?;
        let present = self.store.gc_guard.guard_repository(repository, None).await;
        let state = self.hold(repository, id).await?;
        if at.is_some_and(|at| at != state.written) {
            return Err(Error::UploadRange { received: state.written });
        }
        let upload = self.store.storage.uploads(repository).named(id);
        // With the session's lock inside: the client may leave, and what is opened late must not cut off what the next
        // one wrote.
        let open = move |_: &BlobStore| match upload.writer(state.written)? {
            Opened::Writable(writer, growth) => Ok((writer, growth, state)),
            Opened::Busy => Err(Error::UploadRange { received: state.written }),
            Opened::Gone => Err(Error::UploadUnknown),
        };
        let (writer, growth, state) = self.store.blocking(Lane::Write, open).await??;
        let writer = Writer::new(HashingFile::new(writer, state), self.store.lanes.clone());
        Ok(UploadWriter { repository: repository.clone(), id, growth, writer, store: self.store.clone(), present })
    }

    /// Locks a session, for as long as the guard lives.
    async fn hold(&self, repository: &Repository, id: UploadId) -> Result<OwnedMutexGuard<HashState>, Error> {
        match self.state(repository, id).await?.try_lock_owned() {
            Ok(state) => Ok(state),
            Err(_) => Err(Error::UploadRange { received: self.upload_received(repository, id).await? }),
        }
    }

    /// Ends a session whose bytes hash to `digest`: publishes them, links them, and has both on disk when it returns
    /// (law 3). A session of other bytes ends too, and one that the disk failed; nothing of it stays.
    ///
    /// # Errors
    /// [`Error::DigestInvalid`]; or as the disk fails.
    pub async fn commit(&self, receiving: UploadWriter, digest: Digest) -> Result<(), Error> {
        let UploadWriter { repository, id, growth, writer, present, .. } = receiving;
        drop(growth);
        let upload = self.store.storage.uploads(&repository).named(id);
        let hashing_file = writer.finish().await.map_err(|(_, error)| Error::from(error))?;
        let (sessions, store) = (self.sessions.clone(), self.store.clone());
        // What lies on another filesystem than the blobs is copied: there has to be room for both.
        let session = upload.clone();
        let copied = self.store.blocking(Lane::Look, move |store| store.storage.to_copy(&session, &digest)).await??;
        if copied > 0 {
            drop(self.store.reserve(Purpose::Hosted, copied).await?);
        }
        let room = self.store.room_for(Purpose::Hosted, 0).await?;
        // A task of its own, with the session's lock inside: the client may leave, and the next one must find it whole.
        let commit = async move {
            let _held = (room, present);
            let end = move |_: &BlobStore| {
                hashing_file.end();
                hashing_file
            };
            let hashing_file = store.blocking(Lane::Write, end).await?;
            let committed = store.commit(&repository, &upload, hashing_file.state(), digest).await;
            if is_final(&committed) {
                store.blocking(Lane::Write, move |_| sessions.end(id, &upload)).await?;
            }
            drop(hashing_file);
            committed
        };
        self.tasks.spawn(commit).await.unwrap_or(Err(Error::Abandoned))
    }

    /// Ends a session; nothing of it stays.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadRange`], while it is being written to.
    pub async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<(), Error> {
        // First whether it is this repository's: the lock alone does not tell.
        self.upload_received(repository, id).await?;
        let state = self.hold(repository, id).await?;
        let (sessions, upload) = (self.sessions.clone(), self.store.storage.uploads(repository).named(id));
        let cancel = move |_: &BlobStore| {
            sessions.end(id, &upload);
            drop(state);
        };
        self.store.blocking(Lane::Write, cancel).await
    }

    /// As [`Registry::cancel_upload`], for a session that nobody can go on with: its client left before it heard of it.
    pub fn abandon_upload(self: &Arc<Self>, repository: &Repository, id: UploadId) {
        let (registry, repository) = (Arc::clone(self), repository.clone());
        self.tasks.spawn(async move {
            // What is being written may still hold it for a moment, or it is only about to be there.
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

    /// Removes the sessions that nothing was written to for `age`; tells how many. Lists them only, if `dry`.
    pub fn purge_uploads(&self, age: Duration, dry: bool) -> usize {
        let old = |last: &SystemTime| SystemTime::now().duration_since(*last).is_ok_and(|idle| idle > age);
        let purge = |repository: Result<Repository, storage::Error>| -> Result<usize, storage::Error> {
            let Some(repository) = Some(repository?).filter(|repository| repository.domain.is_none()) else {
                return Ok(0);
            };
            let uploads = self.store.storage.uploads(&repository);
            let all: Vec<_> = uploads.all().collect::<Result<_, _>>()?;
            let purge = |id: UploadId| self.purge(&repository, id, &uploads.named(id), dry, old);
            Ok(all.into_iter().filter(|(id, last)| old(last) && purge(*id)).count())
        };
        let purged = self.store.storage.repositories().map(|repository| {
            purge(repository).unwrap_or_else(|error| {
                tracing::warn!("uploads that nobody goes on with stay for now: {error}");
                0
            })
        });
        purged.sum()
    }

    /// Purges a session that is still old, unless somebody writes to it this moment.
    fn purge(
        &self,
        repository: &Repository,
        id: UploadId,
        upload: &Upload,
        dry: bool,
        is_old: impl Fn(&SystemTime) -> bool,
    ) -> bool {
        // One that nobody has written to since the start has no ink; it gets an empty one, for its lock.
        let state = || Arc::new(AsyncMutex::new(HashState::new(Algorithm::Sha256.hasher())));
        let known = self.sessions.0.states.lock().get(&id).map(Arc::clone);
        let (held, loaded) = (known.clone().unwrap_or_else(state), known.is_some());
        let Ok(_lock) = held.try_lock() else { return false };
        let Ok(_alone) = self.sessions.0.loading.try_lock() else { return false };
        let changed = self.sessions.0.states.lock().contains_key(&id) != loaded;
        if changed || !upload.last_activity().is_ok_and(|last| last.is_some_and(|last| is_old(&last))) {
            return false;
        }
        tracing::info!("{} upload {id} of {repository}", if dry { "would purge" } else { "purging" });
        if !dry {
            self.sessions.end(id, upload);
            self.metrics.found(MaintenanceEvent::Collected(Collected::Upload, 0));
        }
        true
    }

    /// A session's ink, read back from disk if this process has not written to it.
    async fn state(&self, repository: &Repository, id: UploadId) -> Result<Arc<AsyncMutex<HashState>>, Error> {
        let known = || self.sessions.0.states.lock().get(&id).map(Arc::clone);
        if let Some(state) = known() {
            return Ok(state);
        }
        let alone = Arc::clone(&self.sessions.0.loading).lock_owned().await;
        if let Some(state) = known() {
            return Ok(state);
        }
        let (upload, sessions) = (self.store.storage.uploads(repository).named(id), self.sessions.clone());
        // All of it at once, as the client may leave.
        let load = move |_: &BlobStore| {
            let state = Arc::new(AsyncMutex::new(read_back(&upload)?));
            sessions.0.states.lock().insert(id, Arc::clone(&state));
            drop(alone);
            Ok::<_, Error>(state)
        };
        self.store.blocking(Lane::Hash, load).await?
    }
}

impl BlobStore {
    async fn commit(
        &self,
        place: &Repository,
        upload: &Upload,
        state: &HashState,
        digest: Digest,
    ) -> Result<(), Error> {
        let found = self.received(upload, state, digest.algorithm()).await?;
        if found != digest {
            return Err(Error::DigestInvalid { given: Box::new(digest), found: found.into() });
        }
        let _present = self.gc_guard.guard_repository(place, Some(&digest)).await;
        self.host_upload(place, upload, digest).await
    }

    /// The digest of what a session received, in the algorithm that is asked for.
    async fn received(&self, upload: &Upload, state: &HashState, algorithm: Algorithm) -> Result<Digest, Error> {
        let hashed = state.hasher.clone().finish();
        if hashed.algorithm() == algorithm {
            return Ok(hashed);
        }
        let upload = upload.clone();
        let hash = move |_: &Self| {
            let (mut hasher, file) = (algorithm.hasher(), upload.read()?);
            hash_into(&file, &mut hasher).map_err(|error| upload.unread(error))?;
            Ok(hasher.finish())
        };
        self.blocking(hash_lane(state.written), hash).await?
    }
}

/// Whether a session ends with its commit: unless there was no room, which there may
/// be later. Once a sync has failed, a second one would say yes of bytes that are
/// not on the disk.
fn is_final(committed: &Result<(), Error>) -> bool {
    match committed {
        Ok(()) | Err(Error::DigestInvalid { .. }) => true,
        Err(Error::Storage(error)) => error.is_unsynced() || !error.is_full(),
        Err(_) => false,
    }
}

/// Reads a session back that another process wrote to, and writes its bytes anew. That process may have failed to sync
/// them, and to remove them: the kernel would call the next sync a success, though they are not on the disk.
fn read_back(upload: &Upload) -> Result<HashState, Error> {
    let received = upload.received()?.ok_or(Error::UploadUnknown)?;
    let writer = match upload.writer(received)? {
        Opened::Writable(writer, _) => writer,
        Opened::Busy => return Err(Error::UploadRange { received }),
        Opened::Gone => return Err(Error::UploadUnknown),
    };
    let (file, mut buffer, mut state) = (upload.read()?, vec![0; READ], HashState::new(Algorithm::Sha256.hasher()));
    loop {
        let length = file.read_at(&mut buffer, state.written).map_err(|error| upload.unread(error))?;
        if length == 0 {
            return Ok(state);
        }
        writer.write_at(&buffer[..length], state.written)?;
        state.hasher.update(&buffer[..length]);
        state.written += length as u64;
    }
}
