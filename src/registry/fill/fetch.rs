//! Fetches the bytes of one blob from an upstream, in order, resuming after each broken connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    endpoint::{Endpoint, ReportedFailure},
    split::{CONNECTIONS, Pace, SplitPlan},
    upstream::Upstream,
};
use crate::{
    oci::{Digest, RepositoryName},
    registry::{Error, UnusableAnswer, error::Resource},
    upstream::{self, BlobResponse, Client, Validator},
};

/// Chunks buffered between the connection and the disk. Each has up to 64 KiB, so there are only few.
const BUFFERED_CHUNKS: usize = 16;
/// The same for a segment, whose length bounds its bytes.
const SEGMENT_CHUNKS: usize = 1024;
/// Consecutive failures without a byte of progress after which a fetch gives up.
const MAX_FAILURES_WITHOUT_PROGRESS: u32 = 5;
/// Failures in total after which a fetch gives up, so that an upstream that sends single bytes cannot keep a fill
/// forever.
const MAX_FAILURES: u32 = 100;
/// Attempts to fetch the rest of a body that has no length and ended early.
pub(in crate::registry) const MAX_ATTEMPTS: u32 = 100;

/// A blob, or a range of it, to fetch from an upstream.
#[derive(Clone, Debug)]
pub(in crate::registry) struct FetchRequest {
    pub(in crate::registry) upstream: Upstream,
    pub(in crate::registry) name: RepositoryName,
    pub(in crate::registry) digest: Digest,
    /// The offset of the first byte.
    pub(in crate::registry) from: u64,
    /// One past the last byte; `None` for the end of the blob.
    pub(in crate::registry) until: Option<u64>,
    /// Set if the rest may be split among several connections where one is slow. Once it is true, ranges ahead of the
    /// fill have been fetched, so that bytes were fetched twice already, and the rest is not split.
    pub(in crate::registry) split_unless_ranges_fetched: Option<Arc<AtomicBool>>,
    /// The size of the whole blob from its manifest. A body without a length that ends earlier is incomplete.
    pub(in crate::registry) size: Option<u64>,
}

/// A step of a fetch: one `Opened`, then `Bytes` without a gap.
#[derive(Debug)]
pub(in crate::registry) enum Event {
    /// The upstream answered.
    Opened {
        /// The size of the whole blob, if the upstream sent it.
        size: Option<u64>,
        /// `true` if the answer names another digest than the requested one.
        is_another: bool,
        /// The offset of the first byte sent; 0 if the upstream does not support ranges. Bytes before the requested
        /// offset are skipped.
        start: u64,
    },
    /// The next bytes.
    Bytes(Bytes),
}

/// The events of a fetch. The channel closes after the last byte or an error; the receiver counts the bytes, and treats
/// an early end as a failure.
pub(in crate::registry) type Events = mpsc::Receiver<Result<Event, Error>>;

/// Begins a fetch on the thread of `client`. Dropping the receiver ends it.
pub(in crate::registry) fn start(client: Client, wanted: FetchRequest) -> Events {
    start_buffered(client, wanted, BUFFERED_CHUNKS)
}

fn start_buffered(client: Client, wanted: FetchRequest, chunks: usize) -> Events {
    let (events, receiver) = mpsc::channel(chunks);
    let endpoints = wanted.upstream.for_blobs();
    let mut fetch =
        Fetch { at: wanted.from, client, endpoints, current: 0, wanted, events, opened: None, validator: None };
    tokio::task::spawn_local(async move {
        if let Err(Stop::Failed(error)) = fetch.run().await {
            let _ = fetch.events.send(Err(error)).await;
        }
    });
    receiver
}

/// The events of a fetch up to a known end. If the upstream sends no length and the body ends early, the rest is
/// fetched again.
pub(in crate::registry) struct Coming {
    client: Client,
    events: Events,
    /// The request for everything from the next byte on.
    rest: FetchRequest,
    end: u64,
    progressed: bool,
    rounds: u32,
}

impl Coming {
    pub(in crate::registry) fn new(client: Client, events: Events, rest: FetchRequest, end: u64) -> Self {
        Self { client, events, rest, end, progressed: false, rounds: 0 }
    }

    /// Returns the next event; `None` at the end. It is cancel-safe.
    pub(in crate::registry) async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let event = self.events.recv().await;
            match &event {
                Some(Ok(Event::Bytes(bytes))) => {
                    self.rest.from += bytes.len() as u64;
                    self.progressed = true;
                }
                None if self.progressed && self.rest.from < self.end && self.rounds < MAX_ATTEMPTS => {
                    (self.progressed, self.rounds) = (false, self.rounds + 1);
                    self.events = start(self.client.clone(), self.rest.clone());
                    continue;
                }
                _ => {}
            }
            return event;
        }
    }
}

struct Fetch {
    client: Client,
    /// The endpoints, in the order in which they are tried.
    endpoints: Vec<Endpoint>,
    /// The position of the one in use.
    current: usize,
    wanted: FetchRequest,
    events: mpsc::Sender<Result<Event, Error>>,
    /// The offset of the next byte to send to the receiver.
    at: u64,
    /// The size in the first answer, once there was an answer.
    opened: Option<Option<u64>>,
    validator: Option<Validator>,
}

enum Stop {
    /// The receiver was dropped.
    Unwanted,
    Failed(Error),
}

impl Fetch {
    async fn run(&mut self) -> Result<(), Stop> {
        let (mut barren, mut breaks) = (0, 0);
        let mut failure = ReportedFailure::default();
        loop {
            let before = self.at;
            let error = match self.read_on().await {
                Ok(ReadEnd::Complete) => return Ok(()),
                // The split gave up: the rest comes by one connection.
                Ok(ReadEnd::Unsplit) => {
                    self.wanted.split_unless_ranges_fetched = None;
                    continue;
                }
                Err(Broken::Unwanted) => return Err(Stop::Unwanted),
                Err(Broken::Unusable(answer)) => return Err(Stop::Failed(answer.into())),
                Err(Broken::Upstream(error)) => error,
            };
            let Some(endpoint) = self.endpoints.get(self.current) else {
                return Err(Stop::Failed(Resource::Blob.failed(&error)));
            };
            failure.add(endpoint, error.clone());
            if self.at == before && self.next_endpoint(&error) {
                continue;
            }
            let error = failure.take().unwrap_or(error);
            barren = if self.at > before { 0 } else { barren + 1 };
            breaks += 1;
            if self.opened.is_none()
                || !is_transient(&error)
                || barren > MAX_FAILURES_WITHOUT_PROGRESS
                || breaks > MAX_FAILURES
            {
                return Err(Stop::Failed(Resource::Blob.failed(&error)));
            }
            tracing::info!(digest = %self.wanted.digest, at = self.at, %error, "download interrupted; resuming");
            self.wanted.upstream.metrics().resumed(self.wanted.upstream.domain());
            tokio::time::sleep(pause(barren)).await;
            if self.at == before && self.current > 0 {
                self.begin_at_the_first();
            }
        }
    }

    /// Turns to the next endpoint if it may have what this one failed to give. Returns false after the last.
    fn next_endpoint(&mut self, error: &upstream::Error) -> bool {
        let may_help = self.endpoints.get(self.current).is_some_and(|endpoint| endpoint.may_be_replaced(error));
        let is_next = may_help && self.current + 1 < self.endpoints.len();
        if is_next {
            self.current += 1;
            // It is another server's.
            self.validator = None;
        }
        is_next
    }

    /// Turns to the first endpoint again after all have failed: it alone can say that the blob does not exist.
    fn begin_at_the_first(&mut self) {
        self.current = 0;
        self.validator = None;
    }

    /// Reads from one connection until it ends, or goes on with several.
    async fn read_on(&mut self) -> Result<ReadEnd, Broken> {
        let FetchRequest { name, digest, until, .. } = &self.wanted;
        let Some(endpoint) = self.endpoints.get(self.current) else {
            return Err(upstream::Error::Setting("no endpoint is configured".into()).into());
        };
        if let Some(refusal) = endpoint.refuses_blobs() {
            return Err(refusal.into());
        }
        let opening = self.client.open_blob(&endpoint.remote, name, digest, self.at, *until, self.validator.as_ref());
        let opened = opening.await;
        endpoint.learn_of_blob(opened.as_ref().err());
        let mut blob = opened?;
        // With an `If-Range` the whole blob may also mean that it has changed (RFC 9110, section 13.1.5).
        if blob.start() < self.at && self.validator.is_none() {
            endpoint.note_ignored_range();
        }
        self.opened(&blob).await?;
        self.validator = blob.validator().cloned();
        // An upstream without ranges begins at the start again: skip the bytes received before.
        let mut surplus = self.at.saturating_sub(blob.start());
        let mut pace = Pace::new(self.at);
        while let Some(mut bytes) = pace.wait(blob.next()).await? {
            let skipped = bytes.len().min(usize::try_from(surplus).unwrap_or(usize::MAX));
            bytes = bytes.split_off(skipped);
            surplus -= skipped as u64;
            self.hand_on(bytes).await?;
            if self.wanted.until.is_some_and(|until| self.at >= until) {
                return Ok(ReadEnd::Complete);
            }
            if let Some(plan) = self.split(&pace) {
                return self.read_split(blob, plan).await;
            }
        }
        self.ended().map(|()| ReadEnd::Complete)
    }

    /// Plans to split the rest of the blob, if that may be faster and few others are split.
    fn split(&self, pace: &Pace) -> Option<SplitPlan> {
        let has_cost_more = self.wanted.split_unless_ranges_fetched.as_ref()?.load(Relaxed);
        let size = self.size().filter(|_| !has_cost_more && self.wanted.until.is_none())?;
        let speed = pace.worth_a_split(self.at, size)?;
        let permit = self.wanted.upstream.permit_to_split()?;
        tracing::debug!(digest = %self.wanted.digest, speed, "splitting the rest among several connections");
        Some(SplitPlan::new(self.at, size, speed, permit))
    }

    /// Reads the single connection up to the first segment, then the segments in order.
    async fn read_split(&mut self, mut blob: BlobResponse, mut plan: SplitPlan) -> Result<ReadEnd, Broken> {
        let mut ahead: VecDeque<_> = (1..CONNECTIONS).filter_map(|_| self.begin_segment(&mut plan)).collect();
        let boundary = ahead.front().map_or(self.at, |first| first.start);
        while self.at < boundary {
            let Some(mut bytes) = blob.next().await? else { return Ok(ReadEnd::Unsplit) };
            bytes.truncate(usize::try_from(boundary - self.at).unwrap_or(usize::MAX));
            self.hand_on(bytes).await?;
        }
        drop(blob);
        while let Some(segment) = ahead.pop_front() {
            ahead.extend(self.begin_segment(&mut plan));
            if self.read_segment(segment).await? == ReadEnd::Unsplit {
                return Ok(ReadEnd::Unsplit);
            }
            plan.passed();
        }
        Ok(if self.size() == Some(self.at) { ReadEnd::Complete } else { ReadEnd::Unsplit })
    }

    fn begin_segment(&self, plan: &mut SplitPlan) -> Option<Segment> {
        let (start, end) = plan.next_segment()?;
        let wanted =
            FetchRequest { from: start, until: Some(end), split_unless_ranges_fetched: None, ..self.wanted.clone() };
        Some(Segment { start, end, events: start_buffered(self.client.clone(), wanted, SEGMENT_CHUNKS) })
    }

    /// Passes on a segment. Any failure of it is left to the single connection, which resumes there.
    async fn read_segment(&mut self, mut segment: Segment) -> Result<ReadEnd, Broken> {
        while let Some(event) = segment.events.recv().await {
            match event {
                Ok(Event::Opened { start, is_another, .. }) if start != segment.start || is_another => {
                    return Ok(ReadEnd::Unsplit);
                }
                Ok(Event::Opened { .. }) => {}
                Ok(Event::Bytes(bytes)) => self.hand_on(bytes).await?,
                Err(error) => {
                    tracing::debug!(digest = %self.wanted.digest, %error, "a segment failed");
                    return Ok(ReadEnd::Unsplit);
                }
            }
        }
        Ok(if self.at == segment.end { ReadEnd::Complete } else { ReadEnd::Unsplit })
    }

    /// Checks the end of a body without a length. If no source gives the size, the receiver detects a cut by the
    /// digest.
    fn ended(&self) -> Result<(), Broken> {
        let size = self.size().filter(|size| self.wanted.until.is_none() && self.at < *size);
        size.map_or(Ok(()), |size| Err(upstream::Error::Cut { got: self.at, expected: Some(size) }.into()))
    }

    /// Returns the size of the whole blob, if an answer or the manifest gave it.
    fn size(&self) -> Option<u64> {
        self.opened.flatten().or(self.wanted.size)
    }

    async fn opened(&mut self, blob: &BlobResponse) -> Result<(), Broken> {
        let (size, start, is_another) = (blob.size(), blob.start(), blob.is_another());
        match self.opened {
            None => {
                self.opened = Some(size);
                self.send(Event::Opened { size, is_another, start }).await
            }
            // A partial response may carry the size that the full one did not.
            Some(None) => {
                self.opened = Some(size);
                Ok(())
            }
            Some(first) if first == size || size.is_none() => Ok(()),
            Some(_) => Err(Broken::Unusable(UnusableAnswer::SizeChanged)),
        }
    }

    async fn hand_on(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        if let Some(until) = self.wanted.until {
            bytes.truncate(usize::try_from(until - self.at).unwrap_or(usize::MAX));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.at += bytes.len() as u64;
        self.send(Event::Bytes(bytes)).await
    }

    async fn send(&self, event: Event) -> Result<(), Broken> {
        self.events.send(Ok(event)).await.map_err(|_| Broken::Unwanted)
    }
}

/// Returns whether a retry may help.
fn is_transient(error: &upstream::Error) -> bool {
    match error {
        upstream::Error::Cut { .. } | upstream::Error::Timeout { .. } | upstream::Error::Unreachable(_) => true,
        upstream::Error::Status { code, .. } => *code >= 500,
        _ => false,
    }
}

/// A segment under way.
struct Segment {
    start: u64,
    end: u64,
    events: Events,
}

/// The end of a connection without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadEnd {
    /// All bytes have come.
    Complete,
    /// A split gave up.
    Unsplit,
}

enum Broken {
    Unwanted,
    Upstream(upstream::Error),
    Unusable(UnusableAnswer),
}

impl From<upstream::Error> for Broken {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(error)
    }
}

/// Returns the delay before a retry: none after progress, otherwise doubled each time (200 ms, 400 ms … 3.2 s).
fn pause(barren: u32) -> Duration {
    if barren == 0 { Duration::ZERO } else { Duration::from_millis(100 << barren.min(5)) }
}
