//! The windows fetched ahead of a fill, and the file that contains them.

use crate::{
    oci::Digest,
    registry::{Error, store::blob_store::BlobStore},
    storage::{BlobFile, Purpose, Reservation, Staged},
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::sync::OnceCell;
use tokio::sync::Semaphore;
use tokio::sync::watch;
/// Bytes of a window.
pub(in crate::registry) const WINDOW_BYTES: u64 = 1 << 20;

/// The fraction of a blob that may be fetched twice (a tenth); `MAX_REFETCH_BYTES` limits it in bytes.
const REFETCH_SHARE: u64 = 10;

const MAX_REFETCH_BYTES: u64 = 256 << 20;

/// Windows of one blob that are fetched at a time.
const MAX_WINDOWS_A_BLOB: usize = 4;

/// Windows that are fetched at a time in total.
pub(in crate::registry) const MAX_WINDOWS: usize = 32;

/// The windows fetched ahead of one fill.
#[derive(Debug)]
pub(in crate::registry) struct RangeFetches {
    pub(in crate::registry) store: BlobStore,
    pub(in crate::registry) permits: Arc<Semaphore>,
    pub(in crate::registry) staged: OnceCell<Staged>,
    pub(in crate::registry) state: Mutex<WindowsState>,
    pub(in crate::registry) changed: watch::Sender<()>,
    /// Set once a window is begun.
    pub(in crate::registry) any_begun: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
pub(in crate::registry) struct WindowsState {
    /// One past the last byte present, by the window's number.
    pub(in crate::registry) windows: HashMap<u64, u64>,
    pub(in crate::registry) running: usize,
    /// Bytes requested so far.
    pub(in crate::registry) spent: u64,
    pub(in crate::registry) reservations: Vec<Reservation>,
}

impl RangeFetches {
    pub(in crate::registry) fn new(store: BlobStore, permits: Arc<Semaphore>) -> Self {
        let changed = watch::Sender::new(());
        Self { store, permits, staged: OnceCell::new(), state: Mutex::default(), changed, any_begun: Arc::default() }
    }

    /// Subscribes to the arrival of bytes.
    pub(in crate::registry) fn follow(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns the bytes present from `at` on: the file, which has them at the same offset, and their end.
    pub(in crate::registry) fn available(&self, at: u64) -> Option<(Arc<BlobFile>, u64)> {
        let until = *self.state.lock().windows.get(&(at / WINDOW_BYTES))?;
        let staged = self.staged.get().filter(|_| until > at)?;
        Some((staged.file(), until))
    }

    pub(in crate::registry) fn may_begin(&self, start: u64, end: u64, size: u64) -> bool {
        let mut state = self.state.lock();
        let spent = state.spent + (end - start);
        let known = state.windows.contains_key(&(start / WINDOW_BYTES));
        if known || state.running == MAX_WINDOWS_A_BLOB || spent > (size / REFETCH_SHARE).min(MAX_REFETCH_BYTES) {
            return false;
        }
        state.windows.insert(start / WINDOW_BYTES, start);
        state.running += 1;
        state.spent = spent;
        self.any_begun.store(true, Relaxed);
        true
    }

    /// Returns the file, after reserving space for one more window.
    pub(in crate::registry) async fn stage(&self, digest: &Digest) -> Result<&Staged, Error> {
        let reservation = self.store.reserve(Purpose::Mirrored, WINDOW_BYTES).await?;
        self.state.lock().reservations.push(reservation);
        self.staged.get_or_try_init(|| self.store.stage(digest, Purpose::Mirrored, 0)).await
    }

    pub(in crate::registry) fn arrived(&self, start: u64, until: u64) {
        self.state.lock().windows.insert(start / WINDOW_BYTES, until);
        self.changed.send_replace(());
    }
}
