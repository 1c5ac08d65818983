//! Disk space: `reserve` sets it aside, `evict` frees it, `disk_usage` reports its use.

pub(super) mod blob_holders;
pub(super) mod blob_usage;
pub(super) mod disk_usage;
pub(super) mod evict;
pub(super) mod evict_unindexed;
pub(super) mod index_wait;
pub(super) mod queue_rank;
pub(super) mod reach;
pub(super) mod remove_unheld;
pub(super) mod repository_usage;
pub(super) mod reserve;
pub(super) mod tag_usage;
pub(super) mod tally;
