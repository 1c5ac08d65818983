//! The index made anew from the disk: `rebuilds` runs one rebuild at a time, `scan` compares blobs, `saved_uses` keeps
//! the order of eviction over a lost index.

pub(super) mod rebuilds;
pub(super) mod saved_uses;
pub(super) mod scan;
