//! Entrepot: a pull-through mirror of Docker Hub and a private registry, on one port, over one disk.
//!
//! The house, top floor first. A floor imports only from the floors below it, and the rooms of one floor do not import
//! each other; `tests/floors.rs` holds that.

// 5
pub mod cli;
// 4
pub mod admin;
pub mod http;
// 3
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
pub mod lanes;
pub mod metrics;
pub mod policy;
// 0
pub mod oci;
