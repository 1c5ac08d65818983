//! The upload sessions written to since the start, each with the state of its hash.

use super::hashing_writer::HashState;
use crate::{
    oci::{Repository, UploadId},
    storage::DurableStore,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;
pub(in crate::registry) type HashStates = HashMap<UploadId, Arc<AsyncMutex<HashState>>>;

/// The upload sessions of this process.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Sessions(pub(in crate::registry) Arc<OpenSessions>);

#[derive(Debug, Default)]
pub(in crate::registry) struct OpenSessions {
    pub(in crate::registry) states: Mutex<HashStates>,
    /// Sessions that have ended but could not be removed from the disk.
    pub(in crate::registry) ended: Mutex<HashSet<UploadId>>,
    /// Held while a session is restored from disk, so that it is restored once.
    pub(in crate::registry) loading: Arc<AsyncMutex<()>>,
}

impl Sessions {
    /// Returns the number of sessions that this process has started or resumed.
    pub(in crate::registry) fn open(&self) -> usize {
        self.0.states.lock().len()
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
