//! The upload sessions written to since the start, each with the state of its hash.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::hashing_writer::HashState;
use crate::{
    oci::{Repository, UploadId},
    registry::Error,
    storage::DurableStore,
};

/// The state of a session's hash, locked by the request that writes to the session.
pub(in crate::registry) type SessionState = Arc<AsyncMutex<HashState>>;

/// A session that this process has started or resumed.
#[derive(Debug)]
pub(in crate::registry) struct OpenSession {
    pub(in crate::registry) repository: Repository,
    pub(in crate::registry) state: SessionState,
}

/// The upload sessions of this process.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Sessions(pub(in crate::registry) Arc<OpenSessions>);

#[derive(Debug, Default)]
pub(in crate::registry) struct OpenSessions {
    pub(in crate::registry) states: Mutex<HashMap<UploadId, OpenSession>>,
    /// Sessions that have ended but could not be removed from the disk.
    pub(in crate::registry) ended: Mutex<HashSet<UploadId>>,
    /// Held while a session is restored from disk, so that it is restored once.
    pub(in crate::registry) loading: Arc<AsyncMutex<()>>,
}

impl Sessions {
    /// Adds a session that this process has started or resumed.
    pub(in crate::registry) fn add(&self, repository: Repository, id: UploadId, state: HashState) -> SessionState {
        let state = Arc::new(AsyncMutex::new(state));
        self.0.states.lock().insert(id, OpenSession { repository, state: Arc::clone(&state) });
        state
    }

    /// Returns the state of a session that this process has started or resumed.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if the session belongs to another repository, or has ended.
    pub(in crate::registry) fn state(
        &self,
        repository: &Repository,
        id: UploadId,
    ) -> Result<Option<SessionState>, Error> {
        if self.0.ended.lock().contains(&id) {
            return Err(Error::UploadUnknown);
        }
        match self.0.states.lock().get(&id) {
            Some(session) if session.repository != *repository => Err(Error::UploadUnknown),
            session => Ok(session.map(|session| Arc::clone(&session.state))),
        }
    }

    /// Returns the number of sessions that this process has started or resumed.
    pub(in crate::registry) fn open(&self) -> usize {
        self.0.states.lock().len()
    }

    /// Ends a session after its commit, unless the client may try again: a full disk may be temporary. After a failed
    /// sync it must end, because a second sync would report success for bytes that are not on the disk.
    pub(in crate::registry) fn end_if_final(
        &self,
        store: impl DurableStore,
        repository: &Repository,
        id: UploadId,
        committed: &Result<(), Error>,
    ) {
        let is_final = match committed {
            Ok(()) | Err(Error::DigestInvalid { .. }) => true,
            Err(Error::Storage(error)) => error.is_unsynced() || !error.is_full(),
            Err(_) => false,
        };
        if is_final {
            self.end(store, repository, id);
        }
    }

    /// Ends a session. The caller holds its lock. The folder is removed first, so that requests waiting for the lock
    /// find no session. If the folder cannot be removed, the session still counts as ended.
    pub(in crate::registry) fn end(&self, store: impl DurableStore, repository: &Repository, id: UploadId) {
        match store.remove_upload(repository, id) {
            Ok(()) => drop(self.0.ended.lock().remove(&id)),
            Err(error) => {
                tracing::warn!(%error, "files of a finished upload not removed; the purge removes them");
                self.0.ended.lock().insert(id);
            }
        }
        self.0.states.lock().remove(&id);
    }
}
