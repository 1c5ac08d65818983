//! Ranges far ahead of a fill, fetched for the readers that wait for them.
//!
//! They are fetched in windows, which all readers share, when a reader stands in one: one that does not read costs nothing.
//! The bytes go into a file beside the fill's, since nobody has hashed them and the fill's own must hold nothing else than what
//! it hashed. All windows of a blob together are at most a tenth of it; who wants more waits for the fill.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, watch};

use super::{
    Error,
    blob_store::BlobStore,
    fetch::{self, Event},
    fill::Fill,
};
use crate::{
    lanes::Lane,
    oci::Digest,
    storage::{Purpose, Reservation, Staged},
    upstream::Client,
};

/// Bytes of a window.
const WINDOW: u64 = 1 << 20;
/// What part of a blob may be fetched twice, and how many bytes at most.
const PART: u64 = 10;
const MOST: u64 = 256 << 20;
/// Windows of one blob that are fetched at a time.
const AT_ONCE: usize = 4;
/// Windows that are fetched at a time in all.
pub(super) const IN_ALL: usize = 32;

/// What was fetched ahead of one fill.
#[derive(Debug)]
pub(super) struct RangeFetches {
    store: BlobStore,
    turns: Arc<Semaphore>,
    staged: OnceCell<Staged>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// One past the last byte that is here, by the window's number.
    windows: HashMap<u64, u64>,
    running: usize,
    /// Bytes that were asked for.
    spent: u64,
    rooms: Vec<Reservation>,
}

impl RangeFetches {
    pub(super) fn new(store: BlobStore, turns: Arc<Semaphore>) -> Self {
        let changed = watch::Sender::new(());
        Self { store, turns, staged: OnceCell::new(), state: Mutex::default(), changed }
    }

    /// Tells when there may be more.
    pub(super) fn follow(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What is here from `at` on: the file, which has it at the same offset, and the end.
    pub(super) fn available(&self, at: u64) -> Option<(Arc<File>, u64)> {
        let until = *self.state.lock().windows.get(&(at / WINDOW))?;
        let staged = self.staged.get().filter(|_| until > at)?;
        Some((staged.file(), until))
    }

    /// Begins to fetch the window of `at`, if that was not done yet and may be done now. The blob's last byte is never part
    /// of it: that one waits for the digest.
    pub(super) fn begin(fill: &Arc<Fill>, at: u64, size: u64) {
        let ranges = fill.ranges();
        let start = at / WINDOW * WINDOW;
        let end = (start + WINDOW).min(size - 1);
        if at >= end || !ranges.may_begin(start, end, size) {
            return;
        }
        let fetch = RangeFetch { fill: Arc::downgrade(fill), start, end };
        let pool = &fill.origin().mirror.pool;
        let turns = Arc::clone(&ranges.turns);
        // Where no thread can be had, it is dropped, and with it its place.
        let _ = pool.spawn(move |client| async move {
            let _turn = turns.acquire().await;
            if let Err(error) = fetch.run(client).await {
                tracing::debug!("bytes {}-{} are not fetched ahead: {error}", fetch.start, fetch.end);
            }
        });
    }

    fn may_begin(&self, start: u64, end: u64, size: u64) -> bool {
        let mut state = self.state.lock();
        let spent = state.spent + (end - start);
        let known = state.windows.contains_key(&(start / WINDOW));
        if known || state.running == AT_ONCE || spent > (size / PART).min(MOST) {
            return false;
        }
        state.windows.insert(start / WINDOW, start);
        state.running += 1;
        state.spent = spent;
        true
    }

    /// The file, with room for one window more.
    async fn stage(&self, digest: &Digest) -> Result<&Staged, Error> {
        let room = self.store.reserve(Purpose::Mirrored, WINDOW).await?;
        self.state.lock().rooms.push(room);
        self.staged.get_or_try_init(|| self.store.stage(digest, Purpose::Mirrored, 0)).await
    }

    fn arrived(&self, start: u64, until: u64) {
        self.state.lock().windows.insert(start / WINDOW, until);
        self.changed.send_replace(());
    }
}

/// One window on its way.
struct RangeFetch {
    fill: Weak<Fill>,
    start: u64,
    end: u64,
}

impl RangeFetch {
    async fn run(&self, client: Client) -> Result<(), Error> {
        // It may have waited for its turn until nobody wants it any more.
        let Some(fill) = self.fill.upgrade().filter(|fill| fill.is_open()) else { return Ok(()) };
        let ranges = fill.ranges();
        let writer = ranges.stage(fill.digest()).await?.writer();
        let mut events = fetch::start(client, fill.wanted(self.start, Some(self.end)));
        let mut at = self.start;
        while let Some(event) = events.recv().await {
            let bytes = match event? {
                Event::Opened { start, .. } if start != self.start => {
                    return Err(Error::BadGateway("the upstream knows no ranges".into()));
                }
                Event::Opened { .. } => continue,
                Event::Bytes(bytes) => bytes,
            };
            let (writer, length) = (writer.clone(), bytes.len() as u64);
            ranges.store.blocking(Lane::Write, move |_| writer.write_at(&bytes, at)).await??;
            at += length;
            ranges.arrived(self.start, at);
        }
        Ok(())
    }
}

impl Drop for RangeFetch {
    fn drop(&mut self) {
        if let Some(fill) = self.fill.upgrade() {
            fill.ranges().state.lock().running -= 1;
            fill.ranges().changed.send_replace(());
        }
    }
}
