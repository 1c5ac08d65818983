//! Writes: uploads, mounts, manifests and deletes. `ownership` decides if a name may be pushed to.

mod commit_upload;
pub(super) mod delete;
pub(super) mod immutable_tags;
pub(super) mod import;
pub(super) mod mount;
pub(super) mod ownership;
pub(super) mod push_manifest;
mod small_body;
pub(super) mod upload_writer;
pub(super) mod uploads;
