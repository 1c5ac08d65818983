//! The stored content: blobs, manifests, tags and uploads, on disk and in the index, with the locks and guards that
//! concurrent requests need. Everything else in the registry builds on `blob_store`,
//! whose parts are `indexed_volume`, `execution`, `protection`, `space_state`, `shared_work`, `tag_cache`,
//! `name_claims` and `pull_notes`.

pub(super) mod access_tracker;
pub(super) mod blob_store;
pub(super) mod claims;
pub(super) mod damage;
pub(super) mod deletion;
pub(super) mod eviction_log;
pub(super) mod execution;
pub(super) mod gc_guard;
pub(super) mod hashing;
pub(super) mod hashing_writer;
pub(super) mod indexed_volume;
pub(super) mod last_clients;
pub(super) mod layer_links;
pub(super) mod links;
pub(super) mod locks;
pub(super) mod manifests;
pub(super) mod name_claims;
pub(super) mod noted_pulls;
pub(super) mod partial;
pub(super) mod pins;
pub(super) mod promote;
pub(super) mod protection;
pub(super) mod pull_notes;
pub(super) mod recent_events;
pub(super) mod reconcile;
pub(super) mod referrer_descriptor;
pub(super) mod shared_work;
pub(super) mod single_flight;
pub(super) mod small_blob_cache;
pub(super) mod space_state;
pub(super) mod stored_manifests;
pub(super) mod tag_cache;
pub(super) mod tag_links;
pub(super) mod uncached;
pub(super) mod upload_sessions;
