//! The client for other registries: the only user of `awc`.
//!
//! It covers challenges and tokens, redirects, timeouts, one retry, and the count of every byte, so that a truncated
//! response is an error. It does not decide about caching, staleness, or the response to the client.
//!
//! `awc` belongs to one thread and its futures are not `Send`. A [`Pool`] is a few threads with a [`Client`] each;
//! [`Remote`] is one registry and is shared by all. [`Remote`]'s own methods may be awaited anywhere; [`Client`]'s,
//! [`Client::open_blob`] above all, only inside a job that runs on the pool.

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
mod permits;
mod pool;
mod proxy;
mod redacted_url;
mod remote;
mod request;
mod stream;
mod token;
mod token_cache;
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
