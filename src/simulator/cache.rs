//! A simulated cache with a limit in bytes: admission, eviction by tiers, and the counts.

use super::{
    policies::{CacheOrder, Policy},
    trace::{Id, Object, ObjectKind, Trace},
};

/// An object larger than the capacity divided by this is not cached, so that one large object cannot empty the cache.
/// The mirror has the same rule.
pub const LARGEST_SHARE: u64 = 4;

/// The counts of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// Requests that the cache answered.
    pub object_hits: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// Bytes that came from the cache.
    pub byte_hits: u64,
    /// Requests for manifests that had to go upstream: those that Docker Hub counts.
    pub manifest_gets: u64,
    /// Requests for objects too large to be cached.
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
        } else if object.kind == ObjectKind::Manifest {
            self.manifest_gets += 1;
        }
    }

    /// The counts of a cache without a limit: each object is fetched once.
    pub(super) fn unbounded(trace: &Trace) -> Self {
        let mut counts = Self::default();
        let mut seen = vec![false; trace.objects.len()];
        for id in trace.requests.iter().map(|id| *id as usize) {
            counts.add(&trace.objects[id], std::mem::replace(&mut seen[id], true));
        }
        counts
    }
}

/// The cache of one replay.
pub(super) struct Cache<'a> {
    objects: &'a [Object],
    capacity: u64,
    used: u64,
    present: Vec<bool>,
    /// The tiers, in the order of eviction.
    tiers: Vec<Box<dyn CacheOrder + 'a>>,
    counts: Counts,
}

impl<'a> Cache<'a> {
    /// An empty cache. With `tiered`, configs and manifests are evicted only if no blob is left.
    pub(super) fn new(objects: &'a [Object], policy: Policy, capacity: u64, tiered: bool) -> Self {
        let tiers = (0..=usize::from(tiered)).map(|_| policy.start(objects, capacity)).collect();
        Self { objects, capacity, used: 0, present: vec![false; objects.len()], tiers, counts: Counts::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Answers one request, from the cache or from upstream.
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

    fn tier(&self, kind: ObjectKind) -> usize {
        if kind == ObjectKind::Blob { 0 } else { self.tiers.len() - 1 }
    }

    /// Evicts before anything is admitted, as the mirror reserves space before it writes.
    fn make_room(&mut self, size: u64) {
        while self.used + size > self.capacity {
            let Some(gone) = self.tiers.iter_mut().find_map(|tier| tier.evict(size)) else { break };
            self.present[gone as usize] = false;
            self.used -= self.objects[gone as usize].size;
        }
    }
}
