//! Reserves disk space before a byte is written (law 6 of ARCHITECTURE.md). A reservation that does not fit triggers
//! eviction. If it still does not fit, it is refused: a pull is then passed through uncached, and a push fails.

use std::time::{Duration, Instant};

use crate::{
    index::Deferred,
    lanes::Lane,
    registry::{
        Error,
        store::{
            blob_store::{BlobStore, BlockingStore},
            space_state::Shortage,
        },
    },
    storage::{InsufficientSpace, LeasedBytes, MirroredBytes, Purpose, Reservation},
};

/// Bytes reserved in addition to an object's own: its folders and its links.
pub(in crate::registry) const LINK_BYTES: u64 = 64 << 10;
/// The allocation unit of nearly all filesystems, in bytes.
const BLOCK_BYTES: u64 = 4 << 10;
/// The time that a push waits for the initial count of the disk. Clients give up if it takes much longer.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after the start in which a miss waits for the count of the disk. Later misses are not cached instead.
const MISS_SCAN_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval of checking if the disk is counted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Attempts to free space for one reservation, since another request may take the freed space first.
const MAX_ATTEMPTS: usize = 8;
/// The time for which a shortage is cached, since finding evictable content is slow if most of it is not.
const SHORTAGE_TTL: Duration = Duration::from_secs(1);

/// The result of one attempt to reserve.
enum Attempt {
    Reserved(Reservation),
    /// Space was freed: the next attempt may succeed.
    Freed(InsufficientSpace),
    /// Eviction cannot help.
    Refused(InsufficientSpace),
    /// Not enough is evictable.
    Lacking(InsufficientSpace, Shortage),
}

/// A plan to free space for a reservation.
struct Eviction {
    /// Bytes to free.
    bytes: u64,
    /// Bytes of these that partial blobs provide.
    partial: u64,
}

impl BlobStore {
    /// Reserves space for an object of `size` bytes and its links.
    pub(in crate::registry) async fn reserve_object(&self, purpose: Purpose, size: u64) -> Result<Reservation, Error> {
        self.reserve(purpose, size.next_multiple_of(BLOCK_BYTES).saturating_add(LINK_BYTES)).await
    }

    /// Reserves bytes, after freeing them if needed and possible. Waits for the initial count of the disk: a push after
    /// an unclean shutdown, a miss in the first moments after the start.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if the bytes do not fit, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn reserve(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        let begun = Instant::now();
        loop {
            match self.reserve_now(purpose, bytes).await {
                Err(Error::InsufficientSpace(short)) if short.is_counting() && self.may_wait(purpose, begun) => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                done => return done,
            }
        }
    }

    fn may_wait(&self, purpose: Purpose, begun: Instant) -> bool {
        match purpose {
            Purpose::Hosted => begun.elapsed() < SCAN_TIMEOUT,
            // Without an index the disk cannot be counted until there is space again.
            Purpose::Mirrored => self.volume.ledger().open_for() < MISS_SCAN_TIMEOUT && !self.volume.index.has_failed(),
        }
    }

    async fn reserve_now(&self, purpose: Purpose, bytes: u64) -> Result<Reservation, Error> {
        let reserved = self.blocking(Lane::Look, move |store| store.disk.reserve(purpose, bytes)).await?;
        if let Ok(reservation) = reserved {
            return Ok(reservation);
        }
        let mut shortage = self.space.turn().await;
        let mut last = None;
        for _ in 0..MAX_ATTEMPTS {
            let known = *shortage;
            match self.blocking(Lane::Evict, move |store| store.reserve_or_free(purpose, bytes, known)).await? {
                Attempt::Reserved(reservation) => return Ok(reservation),
                Attempt::Freed(short) => last = Some(short),
                Attempt::Refused(short) => return Err(short.into()),
                Attempt::Lacking(short, found) => {
                    *shortage = Some(found);
                    return Err(short.into());
                }
            }
        }
        last.map_or(Err(Error::Contended), |short| Err(short.into()))
    }

    /// Checks if `bytes` would fit after evicting everything evictable. Evicts nothing.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if they would not, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn could_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        let short = self.blocking(Lane::Look, move |store| store.short_of(purpose, bytes)).await??;
        let Some(short) = short else { return Ok(()) };
        let mut shortage = self.space.turn().await;
        let known = *shortage;
        let planned = self.blocking(Lane::Evict, move |store| store.plan(&short, known).map(drop)).await?;
        planned.map_err(|(short, found)| {
            *shortage = Some(found);
            short.into()
        })
    }
}

impl BlockingStore<'_> {
    /// Reserves bytes, or frees those that are missing.
    fn reserve_or_free(&self, purpose: Purpose, bytes: u64, known: Option<Shortage>) -> Attempt {
        let mut short = match self.disk.reserve(purpose, bytes) {
            Ok(reservation) => return Attempt::Reserved(reservation),
            Err(short) if !self.can_help(&short) => return Attempt::Refused(short),
            Err(short) => short,
        };
        // Reserved before anything is evicted: smaller requests, which need no eviction, would take all that becomes
        // free, and a large one would wait in vain.
        let reserved = self.disk.reserve_ahead(bytes);
        short.by = self.disk.overdraft(purpose);
        match self.plan(&short, known) {
            Err((short, found)) => Attempt::Lacking(short, found),
            Ok(eviction) => match self.carry_out(&eviction, purpose) {
                _ if self.disk.overdraft(purpose) == 0 => Attempt::Reserved(reserved),
                0 => Attempt::Refused(short),
                _ => Attempt::Freed(short),
            },
        }
    }

    /// Evicts until there is no overdraft, or as much went as was missing. Returns the bytes of what went.
    fn carry_out(&self, eviction: &Eviction, purpose: Purpose) -> u64 {
        let partial = if eviction.partial > 0 { self.space.partial_blobs.drop_oldest(eviction.bytes) } else { 0 };
        let is_enough = |evicted| self.disk.overdraft(purpose) == 0 || partial + evicted >= eviction.bytes;
        partial + self.evict_until(is_enough)
    }

    /// As [`BlobStore::could_fit`], but does not wait: succeeds while another request frees space. Blocks briefly.
    pub(in crate::registry) fn may_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        let Some(short) = self.short_of(purpose, bytes)? else { return Ok(()) };
        let Ok(mut shortage) = self.space.try_turn() else { return Ok(()) };
        self.plan(&short, *shortage).map(drop).map_err(|(short, found)| {
            *shortage = Some(found);
            short.into()
        })
    }

    /// Returns the missing space if eviction could free it; `None` if nothing is missing.
    fn short_of(&self, purpose: Purpose, bytes: u64) -> Result<Option<InsufficientSpace>, Error> {
        match self.disk.reserve(purpose, bytes) {
            Err(short) if short.is_counting() => Ok(None),
            Err(short) if !self.can_help(&short) => Err(short.into()),
            Err(short) => Ok(Some(short)),
            Ok(_) => Ok(None),
        }
    }

    /// Returns whether evicting everything mirrored would free enough.
    fn can_help(&self, short: &InsufficientSpace) -> bool {
        let MirroredBytes { blobs, links } = self.volume.ledger().mirrored();
        !short.is_not_evictable() && short.by <= blobs + links + self.space.partial_blobs.bytes()
    }

    /// Plans to free what is missing. If not enough is evictable, nothing is to be evicted, since it would have to be
    /// fetched again for no gain.
    fn plan(
        &self,
        short: &InsufficientSpace,
        known: Option<Shortage>,
    ) -> Result<Eviction, (InsufficientSpace, Shortage)> {
        let (bytes, partial) = (short.by, self.space.partial_blobs.bytes().min(short.by));
        let shortage =
            match known.filter(|shortage| shortage.found.elapsed() < SHORTAGE_TTL && shortage.available < bytes) {
                Some(shortage) => shortage,
                None => {
                    let evictable = self.evictable(bytes - partial);
                    if partial + evictable >= bytes {
                        return Ok(Eviction { bytes, partial });
                    }
                    Shortage { found: Instant::now(), available: partial + evictable }
                }
            };
        let leased = leased(self.index.deferred(), bytes.saturating_sub(shortage.available));
        Err((short.with_leased(leased), shortage))
    }

    /// Brings mirrored content within its bound, as far as it is evictable. Partial blobs are removed before cached ones.
    pub(in crate::registry) fn free_overdraft(&self) {
        // A request that frees space has reserved it before.
        let Ok(_turn) = self.space.try_turn() else { return };
        let over = self.disk.overdraft(Purpose::Mirrored);
        if over > 0 && self.space.partial_blobs.drop_oldest(over) < over {
            self.evict_until(|_| self.disk.overdraft(Purpose::Mirrored) == 0);
        }
    }
}

/// Returns the bytes under a lease, and the time at which `missing` of them become evictable.
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
