//! Replays a trace of pulls through a simulated cache under each eviction policy and counts hits. `policy.rs` was
//! chosen with it, and operators can evaluate a quota for their own log.
//!
//! It only computes over a trace: no files, no terminal, no server. It shares with the mirror the ranking
//! (`policy.rs`), the order of the tiers, and the limit for one object's size.

mod access_log;
mod cache;
mod csv;
mod images;
mod policies;
mod random;
mod registry;
mod replay;
mod synthetic;
mod trace;

pub use cache::{Counts, LARGEST_SHARE};
pub use csv::{InvalidLine, InvalidTrace, read};
pub use policies::Policy;
pub use registry::ImitatedRegistry;
pub use replay::{PERCENTS, ReplayReport, ReplayRow, Score, Tiers, replay};
pub use synthetic::Synthetic;
pub use trace::{ObjectKind, Trace};

#[cfg(test)]
mod tests;
