//! Room for what comes: reserved before a byte is written (law 6). What does not fit wakes the eviction; what still does
//! not fit is refused, and the caller streams through or says no.

use std::time::{Duration, Instant};

use crate::{
    index::Deferred,
    lanes::Lane,
    oci::Digest,
    registry::{
        Error,
        store::{blob_store::BlobStore, maintenance_state::Lack},
    },
    storage::{InsufficientSpace, LeasedBytes, Purpose, Reservation},
};

/// What comes with an object besides its bytes: the folders it lies in, its links and theirs.
pub(in crate::registry) const LINKS: u64 = 64 << 10;
/// Files take whole blocks, of this size nearly everywhere.
const BLOCK: u64 = 4 << 10;
/// How long a push waits for the disk to be counted. Far longer, and its client gives up.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);
/// For how long after the start a miss waits for the disk to be counted. After that it is not kept, and nobody waits.
const MISSES_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the disk is counted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often room is made for one reservation: others may take it first.
const TRIES: usize = 8;
/// For how long it is believed that not more can go: looking for it takes long where there is much that cannot.
const BELIEVED: Duration = Duration::from_secs(1);

/// What is to go for something that comes.
struct Eviction {
    /// How much has to go.
    bytes: u64,
    /// Of that, what failed fills left.
    parked: u64,
    digests: Vec<Digest>,
}

impl BlobStore {
    /// Room for an object of `size` bytes and what comes with it.
    pub(in crate::registry) async fn room_for(&self, purpose: Purpose, size: u64) -> Result<Reservation, Error> {
        self.reserve(purpose, size.next_multiple_of(BLOCK).saturating_add(LINKS)).await
    }

    /// Sets bytes aside, making room for them where that is needed and can be done. Waits a while for the disk to be counted:
    /// a push after a process was killed, a miss in the first moments after the start.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`].
    pub(in crate::registry) async fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        let begun = Instant::now();
        loop {
            match self.reserve_now(purpose, bytes).await {
                Err(Error::InsufficientSpace(short)) if short.is_counting() && self.may_wait(purpose, begun) => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                done => return done,
            }
        }
    }

    fn may_wait(&self, purpose: Purpose, begun: Instant) -> bool {
        match purpose {
            Purpose::Hosted => begun.elapsed() < COUNTED_WITHIN,
            // Without an index nothing is counted before there is room again.
            Purpose::Mirrored => self.storage.ledger().open_for() < MISSES_WAIT && !self.index.has_failed(),
        }
    }

    async fn reserve_now(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        if let Ok(reservation) = self.storage.reserve(purpose, bytes) {
            return Ok(reservation);
        }
        // One after the other: what one evicts is not evicted for the next again.
        let mut lack = self.room.lock().await;
        let mut last = None;
        for _ in 0..TRIES {
            let short = match self.storage.reserve(purpose, bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(short) if !self.can_help(&short) => return Err(short.into()),
                Err(short) => short,
            };
            let known = *lack;
            let made = self.blocking(Lane::Evict, move |store| store.make_room(&short, known)).await?;
            match made {
                Ok(0) => return Err(short.into()),
                Ok(_) => last = Some(short),
                Err((short, found)) => {
                    *lack = Some(found);
                    return Err(short.into());
                }
            }
        }
        last.map_or(Err(Error::Abandoned), |short| Err(short.into()))
    }

    /// Whether there would be room, if all that may go now did. Nothing goes for it.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`].
    pub(in crate::registry) async fn could_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        let Some(short) = self.short_of(purpose, bytes)? else { return Ok(()) };
        let mut lack = self.room.lock().await;
        let known = *lack;
        let planned = self.blocking(Lane::Evict, move |store| store.plan(&short, known).map(drop)).await?;
        planned.map_err(|(short, found)| {
            *lack = Some(found);
            short.into()
        })
    }

    /// As [`BlobStore::could_fit`], without waiting: while somebody makes room, there may be some. Blocks for a moment.
    pub(in crate::registry) fn may_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        let Some(short) = self.short_of(purpose, bytes)? else { return Ok(()) };
        let Ok(mut lack) = self.room.try_lock() else { return Ok(()) };
        self.plan(&short, *lack).map(drop).map_err(|(short, found)| {
            *lack = Some(found);
            short.into()
        })
    }

    /// What is missing, and may be had by evicting.
    fn short_of(&self, purpose: Purpose, bytes: u64) -> Result<Option<InsufficientSpace>, Error> {
        match self.storage.reserve(purpose, bytes) {
            Err(short) if short.is_counting() => Ok(None),
            Err(short) if !self.can_help(&short) => Err(short.into()),
            Err(short) => Ok(Some(short)),
            Ok(_) => Ok(None),
        }
    }

    /// Whether evicting all there is would do.
    fn can_help(&self, short: &InsufficientSpace) -> bool {
        !short.is_not_evictable()
            && short.by <= self.storage.ledger().usage().mirrored.bytes() + self.partial_blobs.bytes()
    }

    /// Frees what is missing; tells how much went. Where not enough may go, nothing does: what is evicted in vain has to be
    /// fetched again.
    fn make_room(&self, short: &InsufficientSpace, known: Option<Lack>) -> Result<u64, (InsufficientSpace, Lack)> {
        let Eviction { bytes, parked, digests } = self.plan(short, known)?;
        let mut freed = if parked > 0 { self.partial_blobs.give_way(bytes) } else { 0 };
        for digest in digests {
            if freed >= bytes {
                break;
            }
            freed += self.evict_for_room(&digest);
        }
        Ok(freed)
    }

    fn plan(&self, short: &InsufficientSpace, known: Option<Lack>) -> Result<Eviction, (InsufficientSpace, Lack)> {
        let (bytes, parked) = (short.by, self.partial_blobs.bytes().min(short.by));
        let lack = match known.filter(|lack| lack.found.elapsed() < BELIEVED && lack.available < bytes) {
            Some(lack) => lack,
            None => {
                let (digests, evictable) = self.evictable(bytes - parked);
                if parked + evictable >= bytes {
                    return Ok(Eviction { bytes, parked, digests });
                }
                Lack { found: Instant::now(), available: parked + evictable }
            }
        };
        let leased = leased(self.index.deferred(), bytes.saturating_sub(lack.available));
        Err((short.with_leased(leased), lack))
    }

    /// Frees `bytes`, or what can be; tells how many went. What nobody is waiting for goes before what somebody may ask for.
    pub(in crate::registry) fn free_space(&self, bytes: u64) -> u64 {
        let freed = self.partial_blobs.give_way(bytes);
        if freed < bytes { freed + self.evict(bytes - freed) } else { freed }
    }
}

/// What stays for now, and when `missing` bytes of it may go.
fn leased(deferred: Vec<Deferred>, missing: u64) -> Option<LeasedBytes> {
    let (mut bytes, mut until) = (0, None);
    for held in deferred {
        bytes += held.bytes;
        if until.is_none() && bytes >= missing {
            until = Some(held.until);
        }
    }
    (bytes > 0).then_some(LeasedBytes { bytes, until })
}
