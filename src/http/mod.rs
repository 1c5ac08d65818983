//! The registry API over HTTP: the only inbound actix. Reads requests into types, asks the floor below, writes answers.
//!
//! A file a resource of distribution-spec's endpoint table, and one place (`errors`) that turns errors into responses.
//!
//! A connection comes in through `listen` and `entrance` (room for it, `tls`), is kept to its times by `connection`, and its
//! requests to their numbers by `limits` with `gate`, `rate` and `open_uploads`. `mirror` is what the mirror's own address
//! lets pass, `paths` takes every spelling of a path to one.

mod access_log;
mod audit;
mod base;
mod blobs;
mod body;
mod catalog;
mod challenge;
mod connection;
mod debug;
mod door;
mod entrance;
mod errors;
mod extract;
mod forwarded;
mod gate;
mod guard;
mod headers;
mod health;
mod incoming;
mod limits;
mod listen;
mod location;
mod manifests;
mod measure;
mod metrics;
mod mirror;
mod multipart;
mod open_uploads;
mod paths;
mod rate;
mod referrers;
mod routes;
mod server;
mod settings;
mod stream;
mod tags;
mod tls;
mod token;
mod uploads;

pub use debug::{DebugServer, DebugSettings};
pub use forwarded::{Forwarded, client_address};
pub use limits::Limits;
pub use mirror::Door;
pub use server::{BindError, Server};
pub use settings::{Listen, Settings};
pub use tls::{Tls, TlsError, TlsSettings};
