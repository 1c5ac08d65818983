//! The registry API over HTTP: the only inbound actix. Reads requests into types, asks the floor below, writes answers.
//!
//! A file a resource of distribution-spec's endpoint table, and one place (`errors`) that turns errors into responses.

mod access_log;
mod base;
mod blobs;
mod body;
mod catalog;
mod debug;
mod errors;
mod extract;
mod headers;
mod health;
mod listen;
mod location;
mod lock;
mod manifests;
mod measure;
mod metrics;
mod referrers;
mod routes;
mod server;
mod settings;
mod tags;
mod uploads;

pub use debug::{DebugServer, DebugSettings};
pub use server::Server;
pub use settings::{Listen, Settings};
