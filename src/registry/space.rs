//! Room for what comes: reserved before a byte is written (law 6). What does not fit wakes the eviction; what still does
//! not fit is refused, and the caller streams through or says no.

use std::time::{Duration, Instant};

use super::{Error, objects::Objects};
use crate::{
    lanes::Lane,
    storage::{Purpose, Reservation, Short},
};

/// What comes with an object besides its bytes: the folders it lies in, its links and theirs.
pub(super) const LINKS: u64 = 64 << 10;
/// Files take whole blocks, of this size nearly everywhere.
const BLOCK: u64 = 4 << 10;
/// How long a push waits for the disk to be counted. Far longer, and its client gives up.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);
/// How often room is made for one reservation: others may take it first.
const TRIES: usize = 8;

impl Objects {
    /// Room for an object of `size` bytes and what comes with it.
    pub(super) async fn room_for(&self, purpose: Purpose, size: u64) -> Result<Reservation, Error> {
        self.reserve(purpose, size.next_multiple_of(BLOCK).saturating_add(LINKS)).await
    }

    /// Sets bytes aside, making room for them where that is needed and can be done. A push waits a while for the disk to be
    /// counted, after a process was killed.
    ///
    /// # Errors
    /// [`Error::Short`].
    pub(super) async fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        let begun = Instant::now();
        loop {
            match self.reserve_now(purpose, bytes).await {
                Err(Error::Short(short)) if short.counting && begun.elapsed() < COUNTED_WITHIN => {
                    tokio::time::sleep(COUNTED_WITHIN / 600).await;
                }
                done => return done,
            }
        }
    }

    async fn reserve_now(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        if let Ok(reservation) = self.storage.reserve(purpose, bytes) {
            return Ok(reservation);
        }
        // One after the other: what one evicts is not evicted for the next again.
        let _turn = self.room.lock().await;
        let mut last = None;
        for _ in 0..TRIES {
            match self.storage.reserve(purpose, bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(short) if !self.can_help(&short) => return Err(short.into()),
                Err(short) => last = Some(short),
            }
            let by = last.map_or(0, |short| short.by);
            if self.blocking(Lane::Evict, move |objects| objects.make_way(by)).await? == 0 {
                break;
            }
        }
        last.map_or(Err(Error::Abandoned), |short| Err(short.into()))
    }

    /// Whether there would be room, if all that can make way did.
    ///
    /// # Errors
    /// [`Error::Short`].
    pub(super) fn could_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        match self.storage.reserve(purpose, bytes) {
            Err(short) if !short.counting && !self.can_help(&short) => Err(short.into()),
            _ => Ok(()),
        }
    }

    /// Whether evicting all there is would do.
    fn can_help(&self, short: &Short) -> bool {
        !short.hopeless
            && !short.counting
            && short.by <= self.storage.ledger().usage().mirrored.bytes() + self.parked.bytes()
    }

    /// Frees `bytes`, or what can be; tells how many went. What nobody is waiting for goes before what somebody may ask for.
    pub(super) fn make_way(&self, bytes: u64) -> u64 {
        let freed = self.parked.give_way(bytes);
        if freed < bytes { freed + self.evict(bytes - freed) } else { freed }
    }
}
