//! The registry API over HTTP: the only inbound actix. Reads requests into types, asks the floor below, writes answers.
//!
//! A file a resource of distribution-spec's endpoint table, and one place (`errors`) that turns errors into responses.

mod access_log;
mod audit;
mod base;
mod blobs;
mod body;
mod catalog;
mod challenge;
mod client;
mod door;
mod errors;
mod extract;
mod guard;
mod headers;
mod location;
mod manifests;
mod referrers;
mod routes;
mod server;
mod settings;
mod tags;
mod token;
mod uploads;

pub use server::Server;
pub use settings::{Listen, Settings};
