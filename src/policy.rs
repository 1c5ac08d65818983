//! Which mirrored object goes first when room is needed: a number for each, by what it has been used for, and the least goes.
//!
//! Only the arithmetic lives here. Who holds the numbers in order (the index), who may go at all (the registry), and which
//! arithmetic is right (the simulator, docs/eviction.md) live elsewhere.

/// What is known of an object at the moment it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The rank of the last object that went, or 0: what is used now ranks above it, and so time passes by evictions.
    pub clock: u64,
    /// How often it has been asked for since it came, this time included: at least 1.
    pub uses: u32,
    /// Its length in bytes.
    pub size: u64,
}

/// What having to fetch an object again is taken to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// 1, whatever its size: as many objects as possible are kept, so the small ones.
    Object,
    /// The square root of the size: half way, by factors, between a cost of 1, which looks at requests alone, and one of the
    /// size, which looks at bytes alone.
    Root,
    /// 2 + size / 536: the packets a fetch takes, as if each carried 536 bytes. From some kilobytes on that is the size.
    Packets,
}

/// Ranks are fixed-point: one use of one byte at cost 1 is this much. 2 GiB used once at cost 1 still have 512.
const ONE: u128 = 1 << 40;

impl Use {
    /// The object's new rank: what the mirror evicts by. Measured in docs/eviction.md.
    #[must_use]
    pub fn rank(&self) -> u64 {
        self.gdsf(Cost::Root)
    }

    /// GreedyDual-Size with frequency (Cherkasova 1998): clock + uses × cost ÷ size. It stays at the highest number rather
    /// than wrap: were the whole cache turned over every second, that would take decades.
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
        // Of a large object only the bytes count: 1/536 for each use, whatever the size.
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
