//! Disk space: `reserve` sets it aside, `evict` frees it, `accounting` keeps index and ledger in agreement,
//! `disk_usage` reports its use, `last_uses` keeps the order of eviction over a lost index.

pub(super) mod accounting;
pub(super) mod blob_usage;
pub(super) mod disk_usage;
pub(super) mod evict;
pub(super) mod evict_unindexed;
pub(super) mod last_uses;
pub(super) mod reserve;
pub(super) mod tag_usage;
