//! The events that wait for one endpoint: two journals on the disk, one for pulls and one for everything else. A number
//! in front of each event puts them in one order.
//!
//! Pull events are best effort: they are collected in memory, written without a sync, and dropped first.

use std::{mem, path::Path};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    lanes::Blocking,
    metrics::{DropReason, EndpointMetrics},
    storage::{self, Journal},
};

/// The most pull events in memory.
const MAX_UNWRITTEN: usize = 1024;
/// Their most bytes: those of a manifest with many references are large.
const MAX_UNWRITTEN_BYTES: usize = 4 << 20;
/// A queue has at least about this many files, since its oldest file is dropped when it is full.
const FILES: u64 = 16;
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The queue of one endpoint.
#[derive(Debug)]
pub(super) struct Queue {
    others: Journal,
    pulls: Journal,
    /// The most bytes of both.
    limit: u64,
    metrics: EndpointMetrics,
    unwritten: Mutex<Unwritten>,
    /// The number of the next event. Held while events are appended, so that each journal has them in order.
    next: Mutex<u64>,
    /// Notified when there are events.
    pub(super) filled: Notify,
}

/// Pull events that are not written yet.
#[derive(Debug, Default)]
struct Unwritten {
    events: Vec<String>,
    bytes: usize,
    /// A writer was started, and has not taken them yet.
    is_writing: bool,
}

/// The first event of a queue.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its JSON.
    pub(super) event: String,
    is_pull: bool,
    line: u64,
}

impl Queue {
    /// Opens the queue in the folder `dir`.
    pub(super) fn open(
        io: &Blocking,
        dir: &Path,
        limit: u64,
        metrics: EndpointMetrics,
    ) -> Result<Self, storage::Error> {
        let file_bytes = (limit / FILES).min(MAX_FILE_BYTES);
        let others = Journal::open(io, &dir.join("events"), file_bytes, true)?;
        let pulls = Journal::open(io, &dir.join("pulls"), file_bytes, false)?;
        let last = others.last(io)?.into_iter().chain(pulls.last(io)?).filter_map(|text| Some(split(&text)?.0)).max();
        let queue = Self {
            others,
            pulls,
            limit,
            metrics,
            unwritten: Mutex::default(),
            next: Mutex::new(last.map_or(0, |last| last + 1)),
            filled: Notify::new(),
        };
        queue.gauge();
        Ok(queue)
    }

    /// Adds a pull event. Returns true if [`Self::write_pulls`] is to be called.
    pub(super) fn add_pull(&self, event: String) -> bool {
        let mut unwritten = self.unwritten.lock();
        let is_full = unwritten.events.len() >= MAX_UNWRITTEN || unwritten.bytes >= MAX_UNWRITTEN_BYTES;
        if is_full {
            self.metrics.dropped(DropReason::Busy, 1);
            return false;
        }
        unwritten.bytes += event.len();
        unwritten.events.push(event);
        !mem::replace(&mut unwritten.is_writing, true)
    }

    /// Writes the pull events.
    pub(super) fn write_pulls(&self, io: &Blocking) {
        self.append_pulls(io, &mut self.next.lock());
        self.shrink(io);
        self.filled.notify_one();
    }

    fn append_pulls(&self, io: &Blocking, next: &mut u64) {
        let events = {
            let mut unwritten = self.unwritten.lock();
            unwritten.is_writing = false;
            unwritten.bytes = 0;
            mem::take(&mut unwritten.events)
        };
        if events.is_empty() {
            return;
        }
        let lines = numbered(next, &events);
        if let Err(error) = self.pulls.append(io, &lines) {
            tracing::debug!(%error, "pull events not written");
            self.metrics.dropped(DropReason::Failed, events.len() as u64);
        }
    }

    /// Adds events, after the pull events before them. They are durable when this returns.
    pub(super) fn add(&self, io: &Blocking, events: &[String]) -> Result<(), storage::Error> {
        let until = {
            let mut next = self.next.lock();
            self.append_pulls(io, &mut next);
            let lines = numbered(&mut next, events);
            match self.others.append(io, &lines) {
                // The disk may have space for them when the pull events are gone.
                Err(error) if error.is_full() && self.drop_pulls(io) => self.others.append(io, &lines)?,
                appended => appended?,
            }
        };
        self.others.sync(io, until)?;
        self.shrink(io);
        self.filled.notify_one();
        Ok(())
    }

    /// Drops all pull events. Returns whether that freed space.
    fn drop_pulls(&self, io: &Blocking) -> bool {
        let before = self.pulls.bytes();
        while self.pulls.bytes() > 0
            && let Ok(dropped) = self.pulls.drop_oldest(io)
        {
            self.metrics.dropped(DropReason::Full, dropped);
        }
        self.pulls.bytes() < before
    }

    /// Drops the oldest events while the queue is larger than its limit: pull events first.
    fn shrink(&self, io: &Blocking) {
        while self.pulls.bytes() + self.others.bytes() > self.limit {
            let (journal, what) = match self.pulls.bytes() {
                0 => (&self.others, "events"),
                _ => (&self.pulls, "pull events"),
            };
            match journal.drop_oldest(io) {
                Ok(0) => {}
                Ok(dropped) => {
                    self.metrics.dropped(DropReason::Full, dropped);
                    tracing::error!(
                        dropped,
                        "queue of notifications is full (notifications.queue); dropped the oldest {what}"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "queue of notifications cannot be shortened");
                    break;
                }
            }
        }
        self.gauge();
    }

    /// Returns the first event.
    pub(super) fn first(&self, io: &Blocking) -> Result<Option<Waiting>, storage::Error> {
        let firsts = [(self.others.first(io)?, false), (self.pulls.first(io)?, true)];
        self.metrics.dropped(DropReason::Damaged, self.others.skipped() + self.pulls.skipped());
        let waiting = firsts.into_iter().filter_map(|(line, is_pull)| {
            let line = line?;
            let (number, event) = split(&line.text)?;
            Some((number, Waiting { event: event.to_owned(), is_pull, line: line.number }))
        });
        Ok(waiting.min_by_key(|(number, _)| *number).map(|(_, waiting)| waiting))
    }

    /// Marks an event as delivered.
    pub(super) fn delivered(&self, io: &Blocking, waiting: &Waiting) -> Result<(), storage::Error> {
        let journal = if waiting.is_pull { &self.pulls } else { &self.others };
        journal.take(io, waiting.line)?;
        self.gauge();
        Ok(())
    }

    /// Returns the number of events that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.others.waiting() + self.pulls.waiting()
    }

    fn gauge(&self) {
        self.metrics.queued(self.waiting(), self.others.bytes() + self.pulls.bytes());
    }
}

fn numbered(next: &mut u64, events: &[String]) -> Vec<String> {
    let number = |event: &String| {
        let line = format!("{next} {event}");
        *next += 1;
        line
    };
    events.iter().map(number).collect()
}

fn split(line: &str) -> Option<(u64, &str)> {
    let (number, event) = line.split_once(' ')?;
    Some((number.parse().ok()?, event))
}

#[cfg(test)]
mod tests;
