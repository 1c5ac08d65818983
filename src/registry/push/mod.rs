//! Writes: uploads, mounts, manifests and deletes. `ownership` decides if a name may be pushed to.

pub(super) mod delete;
pub(super) mod immutable_tags;
pub(super) mod import;
pub(super) mod mount;
pub(super) mod ownership;
pub(super) mod push_manifest;
pub(super) mod uploads;
