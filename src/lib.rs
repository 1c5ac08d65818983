//! Entrepot: a pull-through mirror of Docker Hub and a private registry, on one port, over one disk.
//!
//! The house, ground floor first. A floor imports only from the floors below it, and the rooms of one floor do not
//! import each other; `tests/floors.rs` holds that.

// 0
pub mod oci;

// 2
pub mod upstream;
