//! Writes: uploads, mounts, manifests and deletes. `ownership` says whose a name is.

pub(super) mod delete;
pub(super) mod mount;
pub(super) mod ownership;
pub(super) mod push_manifest;
pub(super) mod uploads;
