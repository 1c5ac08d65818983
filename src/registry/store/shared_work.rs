//! The work on a blob that concurrent requests share: one hashing, one removal, one promotion of each at a time.

use super::{
    hashing::{Hashed, Promotion},
    single_flight::BlockingSingleFlight,
};
use crate::{
    lanes::{Blocking, Lane, Lanes},
    oci::Digest,
    registry::Error,
};

type Flight<T> = BlockingSingleFlight<Digest, Result<T, Error>>;

/// Owns one single flight for each long work on a blob. All who ask for the same work on the same digest while it runs
/// get the result of the one that began it; the work goes on when they leave. Only the store itself begins such work.
#[derive(Debug)]
pub(super) struct SharedWork {
    rechecks: Flight<Hashed>,
    drops: Flight<()>,
    promotions: Flight<Promotion>,
}

impl SharedWork {
    pub(super) fn new(lanes: &Lanes) -> Self {
        Self {
            rechecks: Flight::new(lanes.clone()),
            drops: Flight::new(lanes.clone()),
            promotions: Flight::new(lanes.clone()),
        }
    }

    /// Hashes a blob whose bytes are in doubt.
    pub(super) async fn recheck(
        &self,
        digest: Digest,
        lane: Lane,
        work: impl FnOnce(&Blocking) -> Result<Hashed, Error> + Send + 'static,
    ) -> Result<Hashed, Error> {
        self.rechecks.join(digest, lane, work).await.ok_or(Error::Panicked)?
    }

    /// Drops a damaged blob. Runs on the lane for listings, because it looks for the blob in all repositories.
    pub(super) async fn drop_damaged(
        &self,
        digest: Digest,
        work: impl FnOnce(&Blocking) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.drops.join(digest, Lane::List, work).await.ok_or(Error::Panicked)?
    }

    /// Promotes a mirrored blob to a hosted one.
    pub(super) async fn promote(
        &self,
        digest: Digest,
        lane: Lane,
        work: impl FnOnce(&Blocking) -> Result<Promotion, Error> + Send + 'static,
    ) -> Result<Promotion, Error> {
        self.promotions.join(digest, lane, work).await.ok_or(Error::Panicked)?
    }
}
