//! Upload sessions (distribution-spec, "Pushing blobs").
//!
//! A session is a folder on disk; only the state of its hash is kept in memory. One request writes to a session at a
//! time. Bytes that were written count, even if the client disconnected before the response.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{commit_upload::Commit, small_body::Attempt, upload_writer::UploadWriter};
use crate::{
    lanes::{Blocking, Lane},
    metrics::{CollectedKind, MaintenanceEvent},
    oci::{Algorithm, Digest, Repository, UploadId},
    registry::{
        Error, Mode, Registry,
        store::{blob_store::BlockingStore, hashing_writer::HashState, upload_sessions::SessionState},
    },
    storage::{self, AppendBytes, Disk, DurableStore, Opened, Purpose, Reservation, Upload},
};

/// Bytes of one read while a session is restored from disk.
const READ_BYTES: usize = 1 << 20;
/// The bytes of space that have to be there for a session to begin.
const SESSION_BYTES: u64 = 1 << 20;

impl Registry {
    /// Begins a session. It does not claim the repository's name.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the disk is full, [`Error::Storage`] if it fails.
    pub async fn begin_upload(&self, repository: &Repository, id: UploadId, algorithm: Algorithm) -> Result<(), Error> {
        if !self.begin_in(repository, id, None).await? {
            let reservation = self.store.reserve(Purpose::Hosted, SESSION_BYTES).await?;
            self.begin_in(repository, id, Some(reservation)).await?;
        }
        self.sessions.add(repository.clone(), id, HashState::new(algorithm.hasher()));
        Ok(())
    }

    /// Makes the files of a session within a reservation. Without one it reserves the space itself; returns `false` if
    /// that has to be freed first.
    async fn begin_in(&self, place: &Repository, id: UploadId, reserved: Option<Reservation>) -> Result<bool, Error> {
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let guard = self.store.protection.gc_guard.guard_upload(place, None).await;
        let place = place.clone();
        let begin = move |store: &BlockingStore<'_>| {
            let reserve = || store.disk.reserve(Purpose::Hosted, SESSION_BYTES).ok();
            let Some(_reservation) = reserved.or_else(reserve) else { return Ok(false) };
            let _guard = guard;
            store.disk.begin_upload(&place, id, &started).map(|()| true)
        };
        Ok(self.store.blocking(Lane::Write, begin).await??)
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
        // An unknown session must not register activity of a repository, so it is looked for first.
        let state = self.hold(repository, id).await?;
        if at.is_some_and(|at| at != state.written) {
            return Err(Error::UploadRange { received: state.written });
        }
        let guard = self.store.protection.gc_guard.guard_upload(repository, None).await;
        Ok(UploadWriter::new(repository.clone(), id, state, self.store.clone(), guard))
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
    pub async fn commit(&self, mut receiving: UploadWriter, digest: Digest) -> Result<(), Error> {
        let commit = Commit { store: self.store.clone(), sessions: self.sessions.clone(), digest };
        let written = match commit.attempt(&mut receiving).await? {
            Some(Attempt::Ended(committed)) => return committed,
            Some(Attempt::Undecided(state)) => Some(state),
            None => None,
        };
        // A task of its own that holds the session's lock: it completes even if the client disconnects.
        self.tasks.spawn(commit.run(receiving, written)).await.unwrap_or(Err(Error::Panicked))
    }

    /// Cancels a session and removes it.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session, [`Error::UploadRange`] while another request writes to it.
    pub async fn cancel_upload(&self, repository: &Repository, id: UploadId) -> Result<(), Error> {
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
        let known = self.sessions.0.states.lock().get(&id).map(|session| Arc::clone(&session.state));
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
    async fn state(&self, repository: &Repository, id: UploadId) -> Result<SessionState, Error> {
        if let Some(state) = self.sessions.state(repository, id)? {
            return Ok(state);
        }
        // A session that does not exist waits neither for the restoring of another nor for the lane of hashing.
        self.upload_received(repository, id).await?;
        let alone = Arc::clone(&self.sessions.0.loading).lock_owned().await;
        if let Some(state) = self.sessions.state(repository, id)? {
            return Ok(state);
        }
        let (place, sessions) = (repository.clone(), self.sessions.clone());
        // One unit of work, since the client may disconnect.
        let load = move |store: &BlockingStore<'_>| {
            let upload = store.disk.uploads(&place).named(id);
            let state = sessions.add(place, id, read_back(store.disk, &upload)?);
            drop(alone);
            Ok::<_, Error>(state)
        };
        self.store.blocking(Lane::Hash, load).await?
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
