//! The registry API over HTTP. Only this module uses actix: it parses requests into types and turns errors into
//! responses.
//!
//! `transport` accepts connections and limits them, `auth` identifies the caller, `api` (one file for each resource),
//! `page` (for browsers) and `ops` (probes, metrics, logs) answer. `server` assembles them. The modules below them are
//! `settings`, `context` (a request's headers, query and caller), `endpoint` (what its path names), `errors`, `headers`
//! and `paths`.

mod api;
mod auth;
mod context;
mod endpoint;
mod errors;
mod headers;
mod manage;
mod ops;
mod page;
mod paths;
mod server;
mod settings;
mod transport;

pub use ops::debug::{DebugServer, DebugSettings};
pub use server::{BindError, Server};
pub use settings::{BindAddress, Listener, RequestLimits, Settings, TlsSettings};
pub use transport::forwarded::{Forwarded, client_address};
pub use transport::tls::{Tls, TlsError};
