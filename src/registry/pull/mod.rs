//! Reads: manifests by tag and digest, blobs, whole images, lists, referrers. `resolve` decides which repository a
//! request addresses.

pub(super) mod blob;
pub(super) mod blobs;
pub(super) mod hosted;
pub(super) mod image_content;
pub(super) mod listing;
pub(super) mod lists;
pub(super) mod manifest;
pub(super) mod prefetch;
pub(super) mod referrers;
pub(super) mod refresh;
pub(super) mod resolve;
pub(super) mod tags;
pub(super) mod warm;
