//! The registry API over HTTP: the only inbound actix. Reads requests into types, asks the floor below, writes answers.
//!
//! A file a resource of distribution-spec's endpoint table, and one place (`errors`) that turns errors into responses.
//!
//! A connection comes in through `listen` and `entrance` (room for it, `tls`), is kept to its times by `connection`, and its
//! requests to their numbers by `limits` with `gate`, `rate` and `open_uploads`. `mirror` is what the mirror's own address
//! lets pass, `paths` takes every spelling of a path to one.

mod accept;
mod access_log;
mod api_version;
mod audit;
mod authenticate;
mod authorize;
mod blob_body;
mod blobs;
mod catalog;
mod challenge;
mod connection;
mod connection_limit;
mod debug;
mod errors;
mod extract;
mod forwarded;
mod headers;
mod health;
mod http_metrics;
mod limits;
mod listen;
mod location;
mod manifests;
mod metrics;
mod mirror_listener;
mod multipart;
mod paths;
mod rate_limit;
mod referrers;
mod request_body;
mod routes;
mod server;
mod settings;
mod tags;
mod timed_stream;
mod tls;
mod token;
mod upload_limit;
mod uploads;

pub use debug::{DebugServer, DebugSettings};
pub use forwarded::{Forwarded, client_address};
pub use limits::RequestLimits;
pub use mirror_listener::Listener;
pub use server::{BindError, Server};
pub use settings::{Listen, Settings};
pub use tls::{Tls, TlsError, TlsSettings};
