//! Evicts mirrored content by command, in the usual order, until all that is stored is small enough.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::operations::Maintenance;
use crate::{
    metrics::EvictionReason,
    registry::{Error, Mode, store::space_state::EvictionTurn},
};

/// The time to wait for another eviction to end, and the interval of looking.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
const TURN_INTERVAL: Duration = Duration::from_millis(20);
/// The bytes that are evicted in one turn.
const SLICE_BYTES: u64 = 256 << 20;

/// The result of an eviction by command. All values are bytes on the disk, as the quota counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictedTo {
    /// Bytes stored before.
    pub before: u64,
    /// Bytes stored now; in a dry run, the most that would be.
    pub after: u64,
    /// Bytes that were wanted.
    pub to: u64,
    /// Of what is stored, the mirrored content, part of which may be pinned, leased or in use.
    pub mirrored: u64,
    /// True if this was a dry run.
    pub dry_run: bool,
}

impl Maintenance<'_> {
    /// Evicts until at most `to` bytes are stored, or nothing more is evictable. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error::UnderWay`] if requests free space all the time, [`Error::NoIndex`] if there is no complete index,
    /// [`Error::Storage`] if the disk fails.
    pub fn evict_to(&self, to: u64, mode: Mode) -> Result<EvictedTo, Error> {
        self.prepare(&mut || std::ops::ControlFlow::Continue(()))?;
        let before = self.total();
        let excess = before.saturating_sub(to);
        if mode.is_dry() {
            let partial = self.store.space.partial_blobs.bytes().min(excess);
            let after = before - partial - self.store.evictable(excess - partial).min(excess - partial);
            return Ok(EvictedTo { before, after, to, mirrored: self.mirrored(), dry_run: true });
        }
        if excess > 0 {
            self.store.space.partial_blobs.drop_oldest(excess);
        }
        while self.evict_slice(to)? > 0 {}
        let after = self.total();
        tracing::info!(bytes = before.saturating_sub(after), after, to, "evicted by command");
        Ok(EvictedTo { before, after, to, mirrored: self.mirrored(), dry_run: false })
    }

    /// Evicts a part of what is more than `to`. Requests that need room get their turn in between. Returns the bytes of
    /// the blobs that went; 0 if no more have to, or none may.
    fn evict_slice(&self, to: u64) -> Result<u64, Error> {
        let _turn = self.turn()?;
        let slice = self.total().saturating_sub(to).min(SLICE_BYTES);
        Ok(if slice == 0 { 0 } else { self.store.evict_until(EvictionReason::Command, |freed| freed >= slice) })
    }

    fn turn(&self) -> Result<EvictionTurn, Error> {
        let begun = Instant::now();
        loop {
            match self.store.space.try_turn() {
                Ok(turn) => return Ok(turn),
                Err(_) if begun.elapsed() < TURN_TIMEOUT => thread::sleep(TURN_INTERVAL),
                Err(_) => return Err(Error::UnderWay),
            }
        }
    }

    fn total(&self) -> u64 {
        self.store.disk.usage().total()
    }

    fn mirrored(&self) -> u64 {
        self.store.disk.usage().mirrored.bytes()
    }
}
