//! Evicts the object of least rank by `policy.rs`: the mirror's own arithmetic, in a tree as in its index.

use std::collections::BTreeSet;

use super::CacheOrder;
use crate::{
    policy::{Cost, Use},
    simulator::trace::{Id, Object},
};

#[derive(Clone, Copy, Default)]
struct Known {
    rank: u64,
    uses: u32,
}

pub(super) struct Ranked<'a> {
    objects: &'a [Object],
    cost: Cost,
    known: Vec<Known>,
    by_rank: BTreeSet<(u64, Id)>,
    clock: u64,
}

impl<'a> Ranked<'a> {
    pub(super) fn new(objects: &'a [Object], cost: Cost) -> Self {
        Self { objects, cost, known: vec![Known::default(); objects.len()], by_rank: BTreeSet::new(), clock: 0 }
    }

    fn rank(&mut self, object: Id, uses: u32) {
        let size = self.objects[object as usize].size;
        let rank = Use { clock: self.clock, uses, size }.gdsf(self.cost);
        self.known[object as usize] = Known { rank, uses };
        self.by_rank.insert((rank, object));
    }
}

impl CacheOrder for Ranked<'_> {
    fn insert(&mut self, object: Id) {
        self.rank(object, 1);
    }

    fn hit(&mut self, object: Id) {
        let Known { rank, uses } = self.known[object as usize];
        self.by_rank.remove(&(rank, object));
        self.rank(object, uses.saturating_add(1));
    }

    fn evict(&mut self, _: u64) -> Option<Id> {
        let (rank, object) = self.by_rank.pop_first()?;
        self.clock = rank;
        Some(object)
    }
}
