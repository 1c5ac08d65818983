//! Passes bytes from an upstream through to one client without storing them.
//!
//! A permit and a connection to the upstream are held only for a client that reads at a minimum speed. A slower one
//! loses them, reads the buffered bytes, and the rest is requested again from there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc, mpsc::error::SendTimeoutError};

use super::{
    fetch::{self, Event, Events, FetchRequest},
    fill_handle::Fill,
    progress::Handover,
    upstream::Upstream,
};
use crate::{
    metrics::Content,
    oci::{Digest, Hasher},
    registry::{Error, UnusableAnswer},
    upstream::Client,
};

/// Chunks buffered between the upstream's thread and the client's.
const BUFFERED_CHUNKS: usize = 8;
/// Clients served at the same time; more wait for a permit.
pub(in crate::registry) const MAX_CONNECTIONS: usize = 256;
/// The time that a connection is held for a client that reads nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes a second that a client must read to keep its connection: while permits are left, and while others wait.
const MIN_BYTES_PER_SEC: u32 = 64 << 10;
const MIN_BYTES_PER_SEC_IF_OTHERS_WAIT: u32 = 1 << 20;

/// A range of a blob that is passed through.
#[derive(Debug)]
pub(in crate::registry) struct Passthrough {
    /// The offset of the next byte.
    at: u64,
    bytes: mpsc::Receiver<Result<Bytes, Error>>,
}

/// Verifies a blob up to its end.
struct Check {
    upstream: Upstream,
    hasher: Hasher,
    size: u64,
    digest: Digest,
}

impl Passthrough {
    /// Takes over from a fill that ran out of space. A range that ends before the blob does is fetched as it is. One
    /// that reaches the end is hashed from the fill's last byte on, and its last byte is withheld until the digest
    /// matches.
    pub(in crate::registry) fn take_over(fill: &Fill, handover: &Handover, at: u64, end: u64) -> Self {
        if end < handover.size {
            // No other reader will use the fill's connection, which would stay open as long as this response.
            drop(handover.rest.lock().take());
            return Self::interior(fill, at, end);
        }
        let upstream = fill.source().upstream.clone();
        let check = Check { upstream, hasher: handover.hasher.clone(), size: handover.size, digest: *fill.digest() };
        let rest = handover.rest.lock().take();
        Self::start(fill, handover.written, None, Some(check), rest)
    }

    /// Fetches bytes from `at` up to `end`, which is before the blob's end, so they cannot be verified.
    pub(in crate::registry) fn interior(fill: &Fill, at: u64, end: u64) -> Self {
        Self::start(fill, at, Some(end), None, None)
    }

    /// Starts the relay. It takes over the fill's connection in `rest`, to avoid fetching the bytes twice.
    fn start(fill: &Fill, from: u64, until: Option<u64>, check: Option<Check>, rest: Option<Events>) -> Self {
        let (sender, bytes) = mpsc::channel(BUFFERED_CHUNKS);
        let wanted = fill.wanted(from, until);
        let threads = fill.source().upstream.threads();
        let relay = Relay { at: from, wanted, check, rest, out: sender, permits: Arc::clone(fill.passing()) };
        // If no thread is available, the channel closes at once and the reader fails.
        let _ = threads.spawn(move |client| relay.run(client));
        Self { at: from, bytes }
    }

    /// Waits for bytes from `at` on, not beyond `end`. Earlier bytes are skipped.
    pub(in crate::registry) async fn next(&mut self, at: u64, end: u64) -> Result<Bytes, Error> {
        loop {
            let early = || Error::from(UnusableAnswer::EndedEarly);
            let mut bytes = self.bytes.recv().await.ok_or_else(early)??;
            let start = self.at;
            self.at += bytes.len() as u64;
            if self.at > at {
                let surplus = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
                bytes = bytes.split_off(surplus);
                bytes.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
                return Ok(bytes);
            }
        }
    }
}

/// The task on the upstream's thread.
struct Relay {
    /// The offset of the next byte to fetch.
    at: u64,
    wanted: FetchRequest,
    check: Option<Check>,
    /// A connection that is already sending the bytes from there on.
    rest: Option<Events>,
    out: mpsc::Sender<Result<Bytes, Error>>,
    permits: Arc<Semaphore>,
}

/// The remaining time to wait for a client. Each read extends it, up to [`IDLE_TIMEOUT`].
struct Patience(Duration);

impl Patience {
    /// Accounts for a client that took `bytes` after `waited`, at a minimum of `floor` bytes a second.
    fn took(&mut self, bytes: usize, waited: Duration, floor: u32) {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(floor));
        self.0 = (self.0 + earned).saturating_sub(waited).min(IDLE_TIMEOUT);
    }
}

/// The end of one connection.
enum ConnectionEnd {
    /// Everything was sent, or the client is gone.
    Ended,
    /// The client is too slow; these bytes are not sent yet.
    Idle(Bytes),
}

impl Relay {
    /// Runs on an upstream thread until everything is sent or the client is gone.
    async fn run(mut self, client: Client) {
        while let ConnectionEnd::Idle(bytes) = self.pass(&client).await {
            // The next connection is opened only after the client has read everything buffered.
            if self.out.send(Ok(bytes)).await.is_err() || self.out.reserve_many(BUFFERED_CHUNKS).await.is_err() {
                return;
            }
        }
    }

    /// Passes the bytes of one connection.
    async fn pass(&mut self, client: &Client) -> ConnectionEnd {
        let Ok(_permit) = self.permit().await else { return ConnectionEnd::Ended };
        let fetch = || fetch::start(client.clone(), FetchRequest { from: self.at, ..self.wanted.clone() });
        let mut events = self.rest.take().unwrap_or_else(fetch);
        let mut patience = Patience(IDLE_TIMEOUT);
        while let Some(event) = events.recv().await {
            let passed = match event {
                Ok(Event::Opened { .. }) => continue,
                Ok(Event::Bytes(bytes)) => self.checked(bytes),
                Err(error) => Err(error),
            };
            let (length, began) = (passed.as_ref().ok().map(Bytes::len), Instant::now());
            match (self.out.send_timeout(passed, patience.0).await, length) {
                (Err(SendTimeoutError::Timeout(Ok(bytes))), _) => return ConnectionEnd::Idle(bytes),
                (Ok(()), Some(length)) => patience.took(length, began.elapsed(), self.floor()),
                _ => return ConnectionEnd::Ended,
            }
        }
        ConnectionEnd::Ended
    }

    fn floor(&self) -> u32 {
        if self.permits.available_permits() > 0 { MIN_BYTES_PER_SEC } else { MIN_BYTES_PER_SEC_IF_OTHERS_WAIT }
    }

    /// Waits for a permit, without holding a connection.
    async fn permit(&mut self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        self.rest = None;
        Arc::clone(&self.permits).acquire_owned().await
    }

    fn checked(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        self.at += bytes.len() as u64;
        match &mut self.check {
            Some(check) => check.pass(bytes, self.at),
            None => Ok(bytes),
        }
    }
}

impl Check {
    /// Checks bytes that end at the offset `at`. The last chunk of the blob passes only if the digest matches.
    fn pass(&mut self, bytes: Bytes, at: u64) -> Result<Bytes, Error> {
        self.hasher.update(&bytes);
        if at < self.size || (at == self.size && self.hasher.clone().finish() == self.digest) {
            return Ok(bytes);
        }
        tracing::error!(digest = %self.digest, "upstream bytes do not match the digest; response cut off");
        self.upstream.metrics().mismatched(self.upstream.domain(), Content::Blob);
        Err(Error::Mismatch { expected: self.digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 32 << 10;

    /// Returns the number of chunks, of a thousand, that a client gets that takes one each time after `pause`.
    fn chunks(pause: Duration, floor: u32) -> usize {
        let mut patience = Patience(IDLE_TIMEOUT);
        let taken = (0..1000).take_while(|_| {
            let kept = pause <= patience.0;
            patience.took(CHUNK, pause, floor);
            kept
        });
        taken.count()
    }

    #[test]
    fn a_client_below_the_floor_lets_go() {
        let milliseconds = Duration::from_millis;
        assert_eq!(chunks(milliseconds(2001), MIN_BYTES_PER_SEC), 0);
        assert_eq!(chunks(milliseconds(1990), MIN_BYTES_PER_SEC), 1, "one chunk in two seconds is too slow");
        assert!(
            (5..30).contains(&chunks(milliseconds(600), MIN_BYTES_PER_SEC)),
            "and so is a little less than the floor"
        );
        assert_eq!(chunks(milliseconds(490), MIN_BYTES_PER_SEC), 1000);
        assert!(chunks(milliseconds(490), MIN_BYTES_PER_SEC_IF_OTHERS_WAIT) < 10, "while others wait, more is due");
        assert_eq!(chunks(milliseconds(30), MIN_BYTES_PER_SEC_IF_OTHERS_WAIT), 1000);
    }

    #[test]
    fn nobody_saves_up() {
        let mut patience = Patience(IDLE_TIMEOUT);
        (0..100).for_each(|_| patience.took(64 << 10, Duration::ZERO, MIN_BYTES_PER_SEC));
        assert_eq!(patience.0, IDLE_TIMEOUT);
    }
}
