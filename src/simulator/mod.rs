//! Replays a trace of pulls through a cache under each eviction policy, and counts: how `policy.rs` was chosen, and how an
//! operator learns what a quota would do for their own log.
//!
//! Only arithmetic over a trace lives here: no file, no terminal, no server. What the cache here has in common with the mirror is
//! the ranking (`policy.rs`), the order of the tiers, and the bound on one object's size.

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
pub use registry::Registry;
pub use replay::{PERCENTS, Report, Row, Score, Tiers, replay};
pub use synthetic::Synthetic;
pub use trace::{Kind, Trace};

#[cfg(test)]
mod tests;
