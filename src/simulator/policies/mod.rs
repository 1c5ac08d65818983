//! The eviction policies that are compared: each orders objects for eviction. Admission and capacity are in `cache.rs`.

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
    /// Evicts the least recently used object.
    #[serde(rename = "lru")]
    Lru,
    /// GreedyDual-Size with frequency, each object at cost 1.
    #[serde(rename = "gdsf-1")]
    GdsfObjects,
    /// GreedyDual-Size with frequency, each object at the square root of its size.
    #[serde(rename = "gdsf-root")]
    GdsfRoot,
    /// GreedyDual-Size with frequency, each object at cost 2 + size / 536.
    #[serde(rename = "gdsf-packets")]
    GdsfPackets,
    /// Three queues (Yang, Zhang, Qiu, Yue and Rashmi 2023): a small one on probation, the main one, and a ghost.
    #[serde(rename = "s3-fifo")]
    S3Fifo,
    /// W-TinyLFU with aggregated victims (Einziger, Eytan, Friedman and Manes 2022): a window, then a main part that an
    /// object enters if it was requested more often than all the objects it would replace, taken together.
    #[serde(rename = "w-tinylfu")]
    TinyLfu,
}

impl Policy {
    /// All policies, the plainest first.
    pub const ALL: [Self; 6] =
        [Self::Lru, Self::GdsfObjects, Self::GdsfRoot, Self::GdsfPackets, Self::S3Fifo, Self::TinyLfu];

    /// The usual name.
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

    /// Returns an empty order over these objects for a cache of `capacity` bytes.
    pub(super) fn start(self, objects: &[Object], capacity: u64) -> Box<dyn CacheOrder + '_> {
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

/// The objects of a cache, in the order of eviction.
pub(super) trait CacheOrder {
    /// Adds an object that is not in the cache; space has been freed for it.
    fn insert(&mut self, object: Id);
    /// Records a use of an object in the cache.
    fn hit(&mut self, object: Id);
    /// Removes the next object, to free space for one of `coming` bytes. Returns `None` if the cache is empty.
    fn evict(&mut self, coming: u64) -> Option<Id>;
}

#[cfg(test)]
mod tests;
