//! Fetches ranges far ahead of a fill, for readers that wait for them.
//!
//! Ranges are fetched in windows that all readers share, and only if a reader is waiting in one. The bytes go into a
//! file of their own, since they are not hashed and the fill's file may contain only hashed bytes. All windows of a
//! blob together are at most a tenth of it; beyond that, readers wait for the fill.

use std::sync::{Arc, Weak};

use super::{
    fetch::{self, Event},
    fill_handle::Fill,
    range_windows::WINDOW_BYTES,
};
use crate::{
    lanes::Lane,
    registry::{Error, UnusableAnswer},
    upstream::Client,
};

/// Begins to fetch the window of `at`, unless it was fetched already or a limit is reached. The blob's last byte is
/// never included, because it is withheld until the digest is verified.
pub(in crate::registry) fn begin(fill: &Arc<Fill>, at: u64, size: u64) {
    let ranges = fill.ranges();
    let start = at / WINDOW_BYTES * WINDOW_BYTES;
    let end = (start + WINDOW_BYTES).min(size - 1);
    if at >= end || !ranges.may_begin(start, end, size) {
        return;
    }
    let fetch = RangeFetch { fill: Arc::downgrade(fill), start, end };
    let threads = fill.source().upstream.threads();
    let permits = Arc::clone(&ranges.permits);
    // If no thread is available, the fetch is dropped, which frees its slot.
    let _ = threads.spawn(move |client| async move {
        let _permit = permits.acquire().await;
        if let Err(error) = fetch.run(client).await {
            tracing::debug!(start = fetch.start, end = fetch.end, %error, "range fetch failed");
        }
    });
}

/// One window being fetched.
struct RangeFetch {
    fill: Weak<Fill>,
    start: u64,
    end: u64,
}

impl RangeFetch {
    async fn run(&self, client: Client) -> Result<(), Error> {
        // The fill may have ended while this waited for its permit.
        let Some(fill) = self.fill.upgrade().filter(|fill| fill.is_open()) else { return Ok(()) };
        let ranges = fill.ranges();
        let writer = ranges.stage(fill.digest()).await?.writer();
        let mut events = fetch::start(client, fill.wanted(self.start, Some(self.end)));
        let mut at = self.start;
        while let Some(event) = events.recv().await {
            let bytes = match event? {
                Event::Opened { start, .. } if start != self.start => {
                    return Err(UnusableAnswer::NoRanges.into());
                }
                Event::Opened { .. } => continue,
                Event::Bytes(bytes) => bytes,
            };
            let (writer, length) = (writer.clone(), bytes.len() as u64);
            ranges.store.blocking(Lane::Write, move |store| writer.write_at(store.disk.io(), &bytes, at)).await??;
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
