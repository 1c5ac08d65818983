//! The registry v2 API: one file for each resource in distribution-spec's table of endpoints. `routes` is that table,
//! and `extract` parses requests.

pub(super) mod api_version;
pub(super) mod blob_body;
pub(super) mod blobs;
pub(super) mod catalog;
pub(super) mod extract;
pub(super) mod manifests;
pub(super) mod multipart;
pub(super) mod referrers;
pub(super) mod routes;
pub(super) mod tags;
pub(super) mod uploads;
