//! Entrepot: a pull-through mirror of Docker Hub and a private registry, on one port, over one disk.
//!
//! The house, ground floor first. A floor imports only from the floors below it, and the rooms of one floor do not
//! import each other; `tests/floors.rs` holds that.

// 0
pub mod oci;

// 1
pub mod config;

// 2
pub mod index;
pub mod storage;
