//! Bytes that go from the upstream to one client without touching the disk.
//!
//! A connection to the upstream, and a turn to have one, is held for a client that reads, at a floor of speed. One that
//! is slower lets go of it, takes what is on its way, and the bytes are asked for from there on.

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
    upstream_health::UpstreamHealth,
};
use crate::{
    metrics::Content,
    oci::{Digest, Hasher},
    registry::Error,
    upstream::Client,
};

/// Chunks on their way from the upstream's thread to the client's.
const IN_FLIGHT: usize = 8;
/// How many clients are sent to at a time. More wait for their turn.
pub(in crate::registry) const IN_ALL: usize = 256;
/// How long a connection is held for a client that takes nothing.
const IDLE: Duration = Duration::from_secs(2);
/// How many bytes a second a client has to take to keep its connection: while there
/// are turns left, and while others wait.
const FLOOR: u32 = 64 << 10;
const FLOOR_OF_MANY: u32 = 1 << 20;

/// A run of a blob's bytes, coming.
#[derive(Debug)]
pub(in crate::registry) struct Passthrough {
    /// The offset of the next byte that comes.
    at: u64,
    bytes: mpsc::Receiver<Result<Bytes, Error>>,
}

/// Checks a blob to its end.
struct Check {
    mirror: UpstreamHealth,
    hasher: Hasher,
    size: u64,
    digest: Digest,
}

impl Passthrough {
    /// Takes over where a fill ran out of space. A range that ends before the blob does is fetched as it is; one that
    /// reaches the end is hashed from the fill's last byte on, and its own last byte withheld until the digest is
    /// right.
    pub(in crate::registry) fn take_over(fill: &Fill, handover: &Handover, at: u64, end: u64) -> Self {
        if end < handover.size {
            // Nobody takes it up later: its connection would be held for as long as this client's answer takes.
            drop(handover.rest.lock().take());
            return Self::interior(fill, at, end);
        }
        let mirror = fill.origin().mirror.clone();
        let check = Check { mirror, hasher: handover.hasher.clone(), size: handover.size, digest: *fill.digest() };
        let rest = handover.rest.lock().take();
        Self::start(fill, handover.written, None, Some(check), rest)
    }

    /// Fetches bytes from `at` up to `end`, which is not the blob's end: nothing can be checked, and nothing need be.
    pub(in crate::registry) fn interior(fill: &Fill, at: u64, end: u64) -> Self {
        Self::start(fill, at, Some(end), None, None)
    }

    /// What the fill began to fetch, the `rest`, is not fetched twice.
    fn start(fill: &Fill, from: u64, until: Option<u64>, check: Option<Check>, rest: Option<Events>) -> Self {
        let (sender, bytes) = mpsc::channel(IN_FLIGHT);
        let wanted = fill.wanted(from, until);
        let pool = &fill.origin().mirror.pool;
        let relay = Relay { at: from, wanted, check, rest, out: sender, turns: Arc::clone(fill.passing()) };
        // Where no thread can be had, the channel closes at once and the reader fails.
        let _ = pool.spawn(move |client| relay.run(client));
        Self { at: from, bytes }
    }

    /// Waits for bytes from `at` on, not beyond `end`. What comes before is passed over.
    pub(in crate::registry) async fn next(&mut self, at: u64, end: u64) -> Result<Bytes, Error> {
        loop {
            let early = || Error::BadGateway("the blob ended early".into());
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

/// The upstream's side.
struct Relay {
    /// The offset of the next byte to fetch.
    at: u64,
    wanted: FetchRequest,
    check: Option<Check>,
    /// Bytes from there on that are on their way already.
    rest: Option<Events>,
    out: mpsc::Sender<Result<Bytes, Error>>,
    turns: Arc<Semaphore>,
}

/// How long a client may still be waited for. What it takes extends that, up to [`IDLE`].
struct Patience(Duration);

impl Patience {
    /// The client took so many bytes after this time, where `floor` bytes a second are due.
    fn took(&mut self, bytes: usize, waited: Duration, floor: u32) {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(floor));
        self.0 = (self.0 + earned).saturating_sub(waited).min(IDLE);
    }
}

/// What became of a connection.
enum Passed {
    /// All is sent, or will never be.
    Ended,
    /// The client does not take these bytes.
    Idle(Bytes),
}

impl Relay {
    /// Runs on an upstream thread until all is sent or the client is gone.
    async fn run(mut self, client: Client) {
        while let Passed::Idle(bytes) = self.pass(&client).await {
            // It reads again once all that is on its way is taken.
            if self.out.send(Ok(bytes)).await.is_err() || self.out.reserve_many(IN_FLIGHT).await.is_err() {
                return;
            }
        }
    }

    /// One connection's worth.
    async fn pass(&mut self, client: &Client) -> Passed {
        let Ok(_turn) = self.turn().await else { return Passed::Ended };
        let fetch = || fetch::start(client.clone(), FetchRequest { from: self.at, ..self.wanted.clone() });
        let mut events = self.rest.take().unwrap_or_else(fetch);
        let mut patience = Patience(IDLE);
        while let Some(event) = events.recv().await {
            let passed = match event {
                Ok(Event::Opened { .. }) => continue,
                Ok(Event::Bytes(bytes)) => self.checked(bytes),
                Err(error) => Err(error),
            };
            let (length, began) = (passed.as_ref().ok().map(Bytes::len), Instant::now());
            match (self.out.send_timeout(passed, patience.0).await, length) {
                (Err(SendTimeoutError::Timeout(Ok(bytes))), _) => return Passed::Idle(bytes),
                (Ok(()), Some(length)) => patience.took(length, began.elapsed(), self.floor()),
                _ => return Passed::Ended,
            }
        }
        Passed::Ended
    }

    fn floor(&self) -> u32 {
        if self.turns.available_permits() > 0 { FLOOR } else { FLOOR_OF_MANY }
    }

    /// Waits for a turn, and holds no connection meanwhile.
    async fn turn(&mut self) -> Result<OwnedSemaphorePermit, AcquireError> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        self.rest = None;
        Arc::clone(&self.turns).acquire_owned().await
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
    /// Lets bytes pass that end at the offset `at`. A chunk that reaches the end passes only if the whole blob is
    /// right.
    fn pass(&mut self, bytes: Bytes, at: u64) -> Result<Bytes, Error> {
        self.hasher.update(&bytes);
        if at < self.size || (at == self.size && self.hasher.clone().finish() == self.digest) {
            return Ok(bytes);
        }
        tracing::error!("what upstream sent does not match the digest {}", self.digest);
        self.mirror.metrics.mismatched(self.mirror.remote.domain(), Content::Blob);
        Err(Error::Mismatch { expected: self.digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 32 << 10;

    /// How many chunks a client gets that takes one each time after `pause`, of a thousand.
    fn chunks(pause: Duration, floor: u32) -> usize {
        let mut patience = Patience(IDLE);
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
        assert_eq!(chunks(milliseconds(2001), FLOOR), 0);
        assert_eq!(chunks(milliseconds(1990), FLOOR), 1, "one chunk in two seconds is too slow");
        assert!((5..30).contains(&chunks(milliseconds(600), FLOOR)), "and so is a little less than the floor");
        assert_eq!(chunks(milliseconds(490), FLOOR), 1000);
        assert!(chunks(milliseconds(490), FLOOR_OF_MANY) < 10, "while others wait, more is due");
        assert_eq!(chunks(milliseconds(30), FLOOR_OF_MANY), 1000);
    }

    #[test]
    fn nobody_saves_up() {
        let mut patience = Patience(IDLE);
        (0..100).for_each(|_| patience.took(64 << 10, Duration::ZERO, FLOOR));
        assert_eq!(patience.0, IDLE);
    }
}
