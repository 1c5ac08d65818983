//! Entrepot: a pull-through mirror of Docker Hub and a private registry, on one port, over one disk.
//!
//! The modules are listed by floor, the top one first. A module imports only from the floors below its own, and the
//! modules of one floor do not import each other; `tests/floors.rs` enforces that.

// 5
pub mod cli;
// 4
pub mod admin;
pub mod http;
// 3
pub mod notifications;
pub mod registry;
// 2
pub mod access;
pub mod index;
pub mod simulator;
pub mod storage;
pub mod upstream;
// 1
pub mod config;
pub mod descriptors;
pub mod metrics;
pub mod policy;
// 0
pub mod lanes;
pub mod oci;
mod units;
pub mod yaml;
