//! LRU: evicts the least recently used object.

use super::{CacheOrder, queues::Queues};
use crate::simulator::trace::{Id, Object};

pub(super) struct Lru<'a>(Queues<'a, 1>);

impl<'a> Lru<'a> {
    pub(super) fn new(objects: &'a [Object]) -> Self {
        Self(Queues::new(objects))
    }
}

impl CacheOrder for Lru<'_> {
    fn insert(&mut self, object: Id) {
        self.0.push(object, 0);
    }

    fn hit(&mut self, object: Id) {
        self.0.push(object, 0);
    }

    fn evict(&mut self, _: u64) -> Option<Id> {
        self.0.pop(0)
    }
}
