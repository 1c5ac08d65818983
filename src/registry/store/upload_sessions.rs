//! The upload sessions that were written to since the start: the state of the hash of each.

use super::hashing_writer::HashState;
use crate::{oci::UploadId, storage::Upload};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;
pub(in crate::registry) type HashStates = HashMap<UploadId, Arc<AsyncMutex<HashState>>>;

/// The sessions that were written to since this process began.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Sessions(pub(in crate::registry) Arc<OpenSessions>);

#[derive(Debug, Default)]
pub(in crate::registry) struct OpenSessions {
    pub(in crate::registry) states: Mutex<HashStates>,
    /// Sessions that have ended and could not be removed.
    pub(in crate::registry) ended: Mutex<HashSet<UploadId>>,
    /// Held while a session is read back from disk, so that it is read once.
    pub(in crate::registry) loading: Arc<AsyncMutex<()>>,
}

impl Sessions {
    /// How many are open that this process began or went on with.
    pub(in crate::registry) fn open(&self) -> usize {
        self.0.states.lock().len()
    }

    /// Ends a session whose lock the caller holds: first its folder goes, so that whoever waits for the lock finds none. One
    /// whose folder stays is not gone on with all the same.
    pub(in crate::registry) fn end(&self, id: UploadId, upload: &Upload) {
        match upload.remove() {
            Ok(()) => drop(self.0.ended.lock().remove(&id)),
            Err(error) => {
                tracing::warn!("an upload that has ended stays until it is purged: {error}");
                self.0.ended.lock().insert(id);
            }
        }
        self.0.states.lock().remove(&id);
    }
}
