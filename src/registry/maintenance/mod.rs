//! Work on a whole volume: rebuilding the index, verification and repair, what is done now and then, and what is
//! scraped.

pub(super) mod gauges;
pub(super) mod migrate_cache_volume;
pub(super) mod periodic;
pub(super) mod readiness;
pub(super) mod rebuild;
pub(super) mod remove;
pub(super) mod repair;
pub(super) mod verify;
pub(super) mod volume;
pub(super) mod volume_kind;
