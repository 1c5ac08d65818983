//! The client for other registries, and for receivers of notifications: the only user of `awc`.
//!
//! It handles authentication (challenges, tokens), redirects with an address policy, the proxy, a limit of concurrent
//! requests, timeouts, and one retry after a connection failure. It compares a body's length with the framing, so that
//! a truncated body is an error. Caching, staleness and the response to the downstream client are decided in
//! `registry/` and `http/`.
//!
//! `awc` belongs to one thread and its futures are not `Send`. A [`ClientThreads`] is a few threads with a [`Client`]
//! each; [`Remote`] is one registry and is shared by all. Await the methods of [`Remote`] on any thread, and those of
//! [`Client`], such as [`Client::open_blob`], only in a job on one of these threads.

mod account;
mod address_policy;
mod blob;
mod body;
mod challenge;
mod client;
mod client_threads;
mod connect;
mod credential_helper;
mod credentials;
mod error;
mod error_body;
mod headers;
mod list;
mod manifest;
mod metrics;
mod permits;
mod proxy;
mod redacted_url;
mod remote;
mod request;
mod response_head;
mod stream;
mod token;
mod token_cache;
mod trust;
mod urls;
mod webhook;

#[cfg(test)]
mod tests;

pub use account::Account;
pub use blob::{BlobResponse, Validator};
pub use challenge::Challenge;
pub use client::Client;
pub use client_threads::{ClientThreads, ConnectionSettings, native_roots};
pub use credential_helper::CredentialHelper;
pub use credentials::Credentials;
pub use error::{Error, Phase};
pub use list::Page;
pub use manifest::{ManifestBody, ManifestHead};
pub use proxy::Proxy;
pub use remote::{Remote, Timeouts, UpstreamOptions};
pub use trust::Trust;
pub use webhook::Webhook;
