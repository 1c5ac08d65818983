//! The registry API over HTTP, and the only inbound actix: requests become types, errors become responses (`errors`).
//!
//! A request comes in through `transport` (connections and their limits), is asked who it is by `auth`, and answered by `api`
//! (a file a resource) or `ops` (probes, metrics, logs). `server` puts them together; below them lie `settings`, `context`
//! (what a request says), `errors`, `headers` and `paths`.

mod api;
mod auth;
mod context;
mod errors;
mod headers;
mod ops;
mod paths;
mod server;
mod settings;
mod transport;

pub use ops::debug::{DebugServer, DebugSettings};
pub use server::{BindError, Server};
pub use settings::{Listen, Listener, RequestLimits, Settings, TlsSettings};
pub use transport::forwarded::{Forwarded, client_address};
pub use transport::tls::{Tls, TlsError};
