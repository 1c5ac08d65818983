//! The eviction policy: ranks each mirrored object by its uses and size. The object of the lowest rank is evicted
//! first.
//!
//! This is only the arithmetic. The index keeps objects sorted by rank, the registry decides which may be evicted, and
//! the simulator compares policies (docs/eviction.md).

/// The facts about an object at the moment of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The rank of the object that was evicted last, or 0. An object used now ranks above it: evictions advance the
    /// clock.
    pub clock: u64,
    /// The number of its requests since it arrived, this one included: at least 1.
    pub uses: u32,
    /// The size in bytes.
    pub size: u64,
}

/// The assumed cost of fetching an object again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// 1 for any size. Keeps as many objects as possible, and thus small ones.
    Object,
    /// The square root of the size: the geometric mean of a cost of 1, which favours the hit rate by requests, and of
    /// the size, which favours the hit rate by bytes.
    Root,
    /// 2 + size / 536: the packets of a fetch, at 536 bytes each. From some kilobytes on it is proportional to the
    /// size.
    Packets,
}

/// Ranks are fixed-point: this is the priority of one use of one byte at cost 1. 2 GiB used once at cost 1 still have
/// 512.
const ONE: u128 = 1 << 40;

impl Use {
    /// Returns the object's new rank under the mirror's policy, which was chosen by the measurements in
    /// docs/eviction.md.
    #[must_use]
    pub fn rank(&self) -> u64 {
        self.gdsf(Cost::Root)
    }

    /// GreedyDual-Size with frequency (Cherkasova 1998): clock + uses × cost ÷ size. It saturates rather than wraps:
    /// even if the whole cache were replaced every second, that would take decades.
    #[must_use]
    pub fn gdsf(&self, cost: Cost) -> u64 {
        let (uses, size) = (u128::from(self.uses), u128::from(self.size.max(1)));
        let worth = match cost {
            Cost::Object => uses * ONE / size,
            Cost::Root => uses * ONE / size.isqrt(),
            Cost::Packets => uses * (2 * 536 + size) * ONE / (536 * size),
        };
        self.clock.saturating_add(u64::try_from(worth).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(size: u64) -> Use {
        Use { clock: 0, uses: 1, size }
    }

    #[test]
    fn more_uses_rank_higher_and_more_bytes_lower() {
        for cost in [Cost::Object, Cost::Root, Cost::Packets] {
            let ranks: Vec<u64> = [1_000, 100_000, 10_000_000].map(|size| once(size).gdsf(cost)).into();
            assert!(ranks.is_sorted_by(|less, more| less > more), "{cost:?}: {ranks:?}");
            assert!(Use { uses: 2, ..once(1_000) }.gdsf(cost) > once(1_000).gdsf(cost), "{cost:?}");
        }
    }

    #[test]
    fn the_clock_lifts_what_is_used_now_over_what_was_used_before() {
        let early = once(1_000_000).rank();
        assert_eq!(Use { clock: early, ..once(1_000_000) }.rank(), 2 * early);
    }

    #[test]
    fn the_costs_are_what_they_say() {
        assert_eq!(once(1 << 20).gdsf(Cost::Object), 1 << 20);
        assert_eq!(once(1 << 20).gdsf(Cost::Root), 1 << 30);
        assert_eq!(once(536).gdsf(Cost::Packets), 3 * (1 << 40) / 536);
        // The cost of a large object is proportional to its size, so each use counts 1/536 for any size.
        let (large, larger) = (once(1 << 30).gdsf(Cost::Packets), once(1 << 31).gdsf(Cost::Packets));
        assert!(large >= larger && large - larger < larger / 1000);
    }

    #[test]
    fn no_use_wraps() {
        let most = Use { clock: u64::MAX, uses: u32::MAX, size: 0 };
        assert_eq!(most.rank(), u64::MAX);
        assert!(once(u64::MAX).gdsf(Cost::Packets) > 0);
        assert_eq!(Use { clock: 7, ..once(1 << 41) }.gdsf(Cost::Object), 7);
    }
}
