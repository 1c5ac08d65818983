//! A cache with a bound in bytes, as the mirror's: what may come in, in which order the tiers give way, and what is counted.

use super::{
    policies::{Order, Policy},
    trace::{Id, Kind, Object, Trace},
};

/// An object that is larger than this part of the cache streams through: one announced length must not empty it.
pub const LARGEST_SHARE: u64 = 4;

/// What a replay counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests, and how many of them the cache answered.
    pub requests: u64,
    /// See `requests`.
    pub object_hits: u64,
    /// Bytes asked for, and how many of them came from the cache.
    pub bytes: u64,
    /// See `bytes`.
    pub byte_hits: u64,
    /// Requests for manifests that had to go upstream: what Docker Hub counts.
    pub manifest_gets: u64,
    /// Requests for objects too large to be kept.
    pub streamed: u64,
}

impl Counts {
    /// The share of requests that the cache answered, 0 to 1.
    #[must_use]
    pub fn object_hit_ratio(&self) -> f64 {
        self.object_hits as f64 / self.requests.max(1) as f64
    }

    /// The share of bytes that came from the cache, 0 to 1.
    #[must_use]
    pub fn byte_hit_ratio(&self) -> f64 {
        self.byte_hits as f64 / self.bytes.max(1) as f64
    }

    fn add(&mut self, object: &Object, hit: bool) {
        let size = object.size;
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(size);
        if hit {
            self.object_hits += 1;
            self.byte_hits = self.byte_hits.saturating_add(size);
        } else if object.kind == Kind::Manifest {
            self.manifest_gets += 1;
        }
    }

    /// What a cache without bounds would have counted: each object comes once.
    pub(super) fn unbounded(trace: &Trace) -> Self {
        let mut counts = Self::default();
        let mut seen = vec![false; trace.objects.len()];
        for id in trace.requests.iter().map(|id| *id as usize) {
            counts.add(&trace.objects[id], std::mem::replace(&mut seen[id], true));
        }
        counts
    }
}

/// A cache being replayed into.
pub(super) struct Cache<'a> {
    objects: &'a [Object],
    capacity: u64,
    used: u64,
    present: Vec<bool>,
    /// What goes first, first.
    tiers: Vec<Box<dyn Order + 'a>>,
    counts: Counts,
}

impl<'a> Cache<'a> {
    /// An empty one. With `tiered`, configs and manifests go only when no blob is left.
    pub(super) fn new(objects: &'a [Object], policy: Policy, capacity: u64, tiered: bool) -> Self {
        let tiers = (0..=usize::from(tiered)).map(|_| policy.start(objects, capacity)).collect();
        Self { objects, capacity, used: 0, present: vec![false; objects.len()], tiers, counts: Counts::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Answers one request, from the cache or through it.
    pub(super) fn request(&mut self, id: Id) {
        let object = self.objects[id as usize];
        let hit = self.present[id as usize];
        self.counts.add(&object, hit);
        let tier = self.tier(object.kind);
        if hit {
            self.tiers[tier].hit(id);
        } else if object.size > self.capacity / LARGEST_SHARE {
            self.counts.streamed += 1;
        } else {
            self.make_room(object.size);
            self.tiers[tier].insert(id);
            self.present[id as usize] = true;
            self.used += object.size;
        }
    }

    fn tier(&self, kind: Kind) -> usize {
        if kind == Kind::Blob { 0 } else { self.tiers.len() - 1 }
    }

    /// Room is made before anything comes in, as the mirror reserves before it writes.
    fn make_room(&mut self, size: u64) {
        while self.used + size > self.capacity {
            let Some(gone) = self.tiers.iter_mut().find_map(|tier| tier.evict(size)) else { break };
            self.present[gone as usize] = false;
            self.used -= self.objects[gone as usize].size;
        }
    }
}
