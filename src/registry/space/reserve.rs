//! Reserves disk space before a byte is written (law 6 of ARCHITECTURE.md). A reservation that does not fit triggers
//! eviction. If it still does not fit, it is refused: a pull is then passed through uncached, and a push fails.

use std::time::{Duration, Instant};

use crate::{
    index::Deferred,
    lanes::Lane,
    metrics::EvictionReason,
    registry::{
        Error,
        store::{
            blob_store::{BlobStore, BlockingStore},
            space_state::{EvictionTurn, Shortage},
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
/// Attempts to free space for one reservation, since content may come into use between its plan and its eviction.
const MAX_ATTEMPTS: usize = 8;
/// The time for which a shortage is cached, since finding evictable content is slow if most of it is not.
const SHORTAGE_TTL: Duration = Duration::from_secs(1);

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
                Err(Error::InsufficientSpace(short)) if self.is_unknown(&short) && self.may_wait(purpose, begun) => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                done => return done,
            }
        }
    }

    /// Reserves bytes, as [`BlobStore::reserve`], for a file that has `before` reserved bytes already.
    pub(in crate::registry) async fn reserve_more(
        &self,
        purpose: Purpose,
        before: u64,
        bytes: u64,
    ) -> Result<Reservation, Error> {
        let whole = before.saturating_add(bytes);
        self.blocking(Lane::Look, move |store| store.disk.check_object(purpose, whole)).await??;
        self.reserve(purpose, bytes).await
    }

    /// Returns whether there may be room once everything on the disk is counted and indexed: until then nothing is
    /// evictable.
    fn is_unknown(&self, short: &InsufficientSpace) -> bool {
        let is_rebuilding = !self.volume.index.is_complete() && !self.volume.index.has_failed();
        short.is_counting() || (is_rebuilding && !short.is_not_evictable())
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
        // The work owns the turn: it goes on if the client of this request leaves, and nobody else may evict meanwhile.
        let turn = self.space.turn().await;
        Ok(self.blocking(Lane::Evict, move |store| store.free_and_reserve(purpose, bytes, turn)).await??)
    }

    /// Checks if `bytes` would fit after evicting everything evictable. Evicts nothing.
    ///
    /// # Errors
    /// [`Error::InsufficientSpace`] if they would not, [`Error::ShuttingDown`] if the store is closed.
    pub(in crate::registry) async fn could_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        if self.blocking(Lane::Look, move |store| store.disk.reserve(purpose, bytes).is_ok()).await? {
            return Ok(());
        }
        let turn = self.space.turn().await;
        Ok(self.blocking(Lane::Evict, move |store| store.check_fit(purpose, bytes, turn)).await??)
    }
}

impl BlockingStore<'_> {
    /// Reserves bytes, and frees those that are missing.
    fn free_and_reserve(
        &self,
        purpose: Purpose,
        bytes: u64,
        mut turn: EvictionTurn,
    ) -> Result<Reservation, InsufficientSpace> {
        let short = match self.disk.reserve(purpose, bytes) {
            Ok(reservation) => return Ok(reservation),
            Err(short) if !self.can_help(&short) => return Err(short),
            Err(short) => short,
        };
        // Reserved before anything is evicted: smaller requests, which need no eviction, would take all that becomes
        // free, and a large one would wait in vain.
        let reserved = self.disk.reserve_ahead(bytes);
        for _ in 0..MAX_ATTEMPTS {
            let Some(over) = self.disk.overdraft(purpose) else { return Ok(reserved) };
            if over.is_not_evictable() {
                return Err(over);
            }
            let eviction = self.plan(&short.with_missing(over.by), &mut turn)?;
            self.carry_out(&eviction, purpose);
        }
        match self.disk.overdraft(purpose) {
            None => Ok(reserved),
            Some(over) => Err(short.with_leased(leased(&self.index.deferred(), over.by))),
        }
    }

    /// Evicts until there is no overdraft, or as much went as was missing.
    fn carry_out(&self, eviction: &Eviction, purpose: Purpose) {
        let partial = if eviction.partial > 0 { self.space.partial_blobs.drop_oldest(eviction.bytes) } else { 0 };
        self.evict_until(EvictionReason::Room, |evicted| {
            self.disk.overdraft(purpose).is_none() || partial + evicted >= eviction.bytes
        });
    }

    /// As [`BlobStore::could_fit`], but does not wait: succeeds while another request frees space. Blocks briefly.
    pub(in crate::registry) fn may_fit(&self, purpose: Purpose, bytes: u64) -> Result<(), Error> {
        let Ok(turn) = self.space.try_turn() else { return Ok(()) };
        Ok(self.check_fit(purpose, bytes, turn)?)
    }

    /// Checks if `bytes` would fit. The turn is taken before: what another request has reserved ahead is not missing to
    /// this one.
    fn check_fit(&self, purpose: Purpose, bytes: u64, mut turn: EvictionTurn) -> Result<(), InsufficientSpace> {
        match self.disk.reserve(purpose, bytes) {
            Ok(_) => Ok(()),
            Err(short) if short.is_counting() => Ok(()),
            Err(short) if !self.can_help(&short) => Err(short),
            Err(short) => self.plan(&short, &mut turn).map(drop),
        }
    }

    /// Returns whether evicting everything mirrored would free enough.
    fn can_help(&self, short: &InsufficientSpace) -> bool {
        let MirroredBytes { blobs, links } = self.volume.ledger().mirrored();
        !short.is_not_evictable() && short.by <= blobs + links + self.space.partial_blobs.bytes()
    }

    /// Plans to free what is missing. If not enough is evictable, nothing is to be evicted, since it would have to be
    /// fetched again for no gain.
    fn plan(&self, short: &InsufficientSpace, turn: &mut EvictionTurn) -> Result<Eviction, InsufficientSpace> {
        let (bytes, partial) = (short.by, self.space.partial_blobs.bytes().min(short.by));
        if let Some(known) = turn.filter(|known| known.holds(SHORTAGE_TTL) && known.available < bytes) {
            return Err(self.lacking(short, known.available));
        }
        let available = partial + self.evictable(bytes - partial);
        if available >= bytes {
            return Ok(Eviction { bytes, partial });
        }
        let next_due = self.index.deferred().first().map(|first| first.until);
        **turn = self.index.is_complete().then(|| Shortage { found: Instant::now(), available, next_due });
        Err(self.lacking(short, available))
    }

    fn lacking(&self, short: &InsufficientSpace, available: u64) -> InsufficientSpace {
        short.with_leased(leased(&self.index.deferred(), short.by.saturating_sub(available)))
    }

    /// Brings mirrored content within its bound, as far as it is evictable. Partial blobs are removed before cached
    /// ones.
    pub(in crate::registry) fn free_overdraft(&self) {
        // A request that frees space has reserved it before.
        let Ok(_turn) = self.space.try_turn() else { return };
        let over = |store: &Self| store.disk.overdraft(Purpose::Mirrored).filter(|over| !over.is_not_evictable());
        if let Some(missing) = over(self).map(|over| over.by)
            && self.space.partial_blobs.drop_oldest(missing) < missing
        {
            self.evict_until(EvictionReason::Room, |_| over(self).is_none());
        }
    }
}

/// Returns the bytes under a lease, and the time at which `missing` of them become evictable.
fn leased(deferred: &[Deferred], missing: u64) -> Option<LeasedBytes> {
    let (mut bytes, mut until) = (0, None);
    for held in deferred {
        bytes += held.bytes;
        if until.is_none() && bytes >= missing {
            until = Some(held.until);
        }
    }
    (bytes > 0).then_some(LeasedBytes { bytes, until })
}
