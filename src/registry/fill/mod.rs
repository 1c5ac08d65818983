//! Fetching from upstreams: a blob is fetched once for all clients (`fills`, `fill_job`), and each client reads the
//! staged file at its own pace (`reader`). `upstream` is a registry to fetch from, `endpoint` a URL of it, with a
//! circuit breaker (`endpoint_health`).

pub(super) mod endpoint;
pub(super) mod endpoint_health;
pub(super) mod fetch;
pub(super) mod fill_handle;
pub(super) mod fill_job;
pub(super) mod fill_source;
pub(super) mod fill_unknown_size;
pub(super) mod fills;
pub(super) mod list_cache;
pub(super) mod passthrough;
pub(super) mod prefetches;
pub(super) mod presence;
pub(super) mod progress;
pub(super) mod pull_budget;
pub(super) mod range_fetch;
pub(super) mod range_windows;
pub(super) mod reader;
pub(super) mod split;
pub(super) mod transfer;
pub(super) mod upstream;
pub(super) mod upstreams;
