//! The policies that are compared: who goes next. What may be in the cache at all, and how much fits, is `cache.rs`'s.

mod lru;
mod queues;
mod ranked;
mod s3fifo;
mod sketch;
mod tinylfu;

use super::trace::{Id, Object};
use crate::policy::Cost;

/// An eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Policy {
    /// The least recently used goes.
    #[serde(rename = "lru")]
    Lru,
    /// GreedyDual-Size with frequency, every object at cost 1.
    #[serde(rename = "gdsf-1")]
    GdsfObjects,
    /// GreedyDual-Size with frequency, an object at the square root of its size.
    #[serde(rename = "gdsf-root")]
    GdsfRoot,
    /// GreedyDual-Size with frequency, an object at cost 2 + size / 536.
    #[serde(rename = "gdsf-packets")]
    GdsfPackets,
    /// Three queues (Yang, Zhang, Qiu, Yue and Rashmi 2023): a small one that newcomers must be used in, the main one, a ghost.
    #[serde(rename = "s3-fifo")]
    S3Fifo,
    /// A window, then a main part that a newcomer enters if it was asked for more often than all that would have to go for it
    /// together: W-TinyLFU with aggregated victims (Einziger, Eytan, Friedman and Manes 2022).
    #[serde(rename = "w-tinylfu")]
    TinyLfu,
}

impl Policy {
    /// All of them, the plainest first.
    pub const ALL: [Self; 6] =
        [Self::Lru, Self::GdsfObjects, Self::GdsfRoot, Self::GdsfPackets, Self::S3Fifo, Self::TinyLfu];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "LRU",
            Self::GdsfObjects => "GDSF, cost 1",
            Self::GdsfRoot => "GDSF, cost √size",
            Self::GdsfPackets => "GDSF, cost 2 + size/536",
            Self::S3Fifo => "S3-FIFO",
            Self::TinyLfu => "W-TinyLFU, size-aware",
        }
    }

    /// An empty order over these objects for a cache of `capacity` bytes.
    pub(super) fn start(self, objects: &[Object], capacity: u64) -> Box<dyn Order + '_> {
        match self {
            Self::Lru => Box::new(lru::Lru::new(objects)),
            Self::GdsfObjects => Box::new(ranked::Ranked::new(objects, Cost::Object)),
            Self::GdsfRoot => Box::new(ranked::Ranked::new(objects, Cost::Root)),
            Self::GdsfPackets => Box::new(ranked::Ranked::new(objects, Cost::Packets)),
            Self::S3Fifo => Box::new(s3fifo::S3Fifo::new(objects, capacity)),
            Self::TinyLfu => Box::new(tinylfu::TinyLfu::new(objects, capacity)),
        }
    }
}

/// The objects of a cache, in the order in which they go.
pub(super) trait Order {
    /// An object that was not there comes in; room for it has been made.
    fn insert(&mut self, object: Id);
    /// An object that is there is used.
    fn hit(&mut self, object: Id);
    /// Takes out the one that goes next, for an object of so many bytes that is to come in. `None` when there is none.
    fn evict(&mut self, coming: u64) -> Option<Id>;
}

#[cfg(test)]
mod tests;
