//! Other registries, asked over HTTP: the only place that uses `awc`.
//!
//! Here: challenges and tokens, redirects, timeouts, the one retry, and the counting of every byte, so that a response
//! cut short is an error. Not here: what is cached, what is stale, what a client is told.
//!
//! `awc` belongs to one thread and its futures are not `Send`. A [`Pool`] is a few threads with a [`Client`] each;
//! [`Remote`] is one registry and may be shared by all. [`Remote`]'s own methods may be awaited anywhere; [`Client`]'s,
//! [`Client::open_blob`] above all, only inside a job given to the pool.

mod address_policy;
mod blob;
mod body;
mod challenge;
mod client;
mod connect;
mod credentials;
mod error;
mod error_body;
mod head;
mod headers;
mod list;
mod manifest;
mod metrics;
mod pool;
mod proxy;
mod redacted_url;
mod remote;
mod request;
mod stream;
mod token;
mod token_cache;
mod turns;
mod urls;

#[cfg(test)]
mod tests;

pub use blob::{Blob, Validator};
pub use challenge::Challenge;
pub use client::Client;
pub use credentials::Credentials;
pub use error::{Error, Phase};
pub use headers::Budget;
pub use list::Page;
pub use manifest::{ManifestBody, ManifestHead};
pub use pool::{Pool, Settings, native_roots};
pub use proxy::Proxy;
pub use remote::{Options, Remote, Timeouts};
