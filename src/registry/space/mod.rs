//! Room on the disk: `reserve` promises it, `evict` frees it, `accounting` keeps index and ledger together, `disk_usage` tells
//! what fills it.

pub(super) mod accounting;
pub(super) mod blob_usage;
pub(super) mod disk_usage;
pub(super) mod evict;
pub(super) mod evict_unindexed;
pub(super) mod reserve;
pub(super) mod tag_usage;
