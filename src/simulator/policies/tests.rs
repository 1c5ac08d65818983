//! Each policy on handmade traces with a known result.

use super::*;
use crate::simulator::{
    cache::{Cache, Counts},
    trace::ObjectKind,
};

/// Replays requests for blobs of these sizes, numbered in this order.
fn replay(policy: Policy, capacity: u64, sizes: &[u64], requests: impl IntoIterator<Item = Id>) -> Counts {
    let objects: Vec<Object> = sizes.iter().map(|size| Object { size: *size, kind: ObjectKind::Blob }).collect();
    let mut cache = Cache::new(&objects, policy, capacity, true);
    requests.into_iter().for_each(|id| cache.request(id));
    cache.counts()
}

fn hits(policy: Policy, capacity: u64, sizes: &[u64], requests: impl IntoIterator<Item = Id>) -> u64 {
    replay(policy, capacity, sizes, requests).object_hits
}

#[test]
fn all_of_them_keep_what_fits() {
    for policy in Policy::ALL {
        let counts = replay(policy, 400, &[100, 100, 100, 100], [0, 1, 2, 3, 0, 1, 2, 3, 3]);
        assert_eq!((counts.object_hits, counts.byte_hits, counts.requests), (5, 500, 9), "{policy:?}");
    }
}

#[test]
fn lru_forgets_what_was_used_longest_ago() {
    let sizes = [1; 5];
    assert_eq!(hits(Policy::Lru, 4, &sizes, [0, 1, 2, 3, 0, 4, 0, 2, 3]), 4);
    assert_eq!(hits(Policy::Lru, 4, &sizes, [0, 1, 2, 3, 0, 4, 1]), 1, "1 was the longest unused");
    assert_eq!(hits(Policy::Lru, 4, &sizes, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]), 0, "a loop one too long");
}

#[test]
fn gdsf_lets_the_large_one_go_and_keeps_the_frequent() {
    let sizes = [100, 100, 100, 20, 100];
    for policy in [Policy::GdsfObjects, Policy::GdsfRoot, Policy::GdsfPackets] {
        // 0 is requested three times, 1 twice, 2 and the small 3 once; 4 replaces two of the large ones, or one.
        let warm = [0, 0, 0, 1, 1, 2, 3];
        assert_eq!(hits(policy, 400, &sizes, warm), 3, "{policy:?}");
        assert_eq!(hits(policy, 400, &sizes, warm.into_iter().chain([4, 0, 1, 3])), 6, "{policy:?}: 2 went, alone");
        assert_eq!(hits(policy, 400, &sizes, warm.into_iter().chain([4, 2])), 3, "{policy:?}: 2 went");
    }
}

#[test]
fn the_cost_decides_between_a_large_frequent_object_and_small_rare_ones() {
    let objects = [10_000, 100].map(|size| Object { size, kind: ObjectKind::Blob });
    // The large one is requested twelve times, the small one once.
    let goes_first = |policy: Policy| {
        let mut order = policy.start(&objects, 20_000);
        order.insert(0);
        (1..12).for_each(|_| order.hit(0));
        order.insert(1);
        [order.evict(1), order.evict(1), order.evict(1)]
    };
    assert_eq!(goes_first(Policy::GdsfObjects), [Some(0), Some(1), None], "12 / 10,000 < 1 / 100");
    assert_eq!(goes_first(Policy::GdsfRoot), [Some(1), Some(0), None], "12 / 100 > 1 / 10");
    assert_eq!(goes_first(Policy::GdsfPackets), [Some(1), Some(0), None]);
    assert_eq!(goes_first(Policy::Lru), [Some(0), Some(1), None], "it came first");
}

#[test]
fn a_scan_of_things_used_once_does_not_wash_out_what_is_used() {
    // 0 and 1 are requested three times each, then a thousand others once each, then 0 and 1 again.
    let requests = || [0, 1, 0, 1, 0, 1].into_iter().chain(2..1002).chain([0, 1]);
    for (policy, expected) in [(Policy::Lru, 4), (Policy::GdsfRoot, 4), (Policy::S3Fifo, 6), (Policy::TinyLfu, 6)] {
        assert_eq!(hits(policy, 200, &[1; 1002], requests()), expected, "{policy:?}");
    }
    // GreedyDual's clock lifts new objects over the frequent ones in the end: it forgets too, but later.
    let short = || [0, 1, 0, 1, 0, 1].into_iter().chain(2..402).chain([0, 1]);
    for (policy, expected) in [(Policy::Lru, 4), (Policy::GdsfRoot, 6)] {
        assert_eq!(hits(policy, 200, &[1; 402], short()), expected, "{policy:?}");
    }
}

#[test]
fn s3_fifo_remembers_by_name_what_it_let_go() {
    // 0 is evicted from the small queue, comes back into the main one, and outlives those that came after it.
    let requests = || [0].into_iter().chain(1..=20).chain([0]).chain(21..=60).chain([0]);
    assert_eq!(hits(Policy::S3Fifo, 20, &[1; 61], requests()), 1);
    assert_eq!(hits(Policy::Lru, 20, &[1; 61], requests()), 0);
}

#[test]
fn s3_fifo_lets_go_of_the_main_queue_what_was_not_used_since() {
    let objects = [1; 4].map(|size| Object { size, kind: ObjectKind::Blob });
    let mut order = Policy::S3Fifo.start(&objects, 0);
    (0..4).for_each(|id| order.insert(id));
    (0..2).for_each(|_| order.hit(1));
    assert_eq!(
        [order.evict(1), order.evict(1), order.evict(1)],
        [Some(0), Some(2), Some(3)],
        "1 went on to the main queue"
    );
    order.hit(1);
    order.insert(0);
    assert_eq!([order.evict(1), order.evict(1), order.evict(1)], [Some(0), Some(1), None]);
}

#[test]
fn a_large_newcomer_must_be_worth_all_that_would_go_for_it() {
    let sizes: Vec<u64> = [10; 99].into_iter().chain([50]).collect();
    let objects: Vec<Object> = sizes.iter().map(|size| Object { size: *size, kind: ObjectKind::Blob }).collect();
    // The small ones fill the main part, each requested twice; the large one would replace five of them.
    let mut order = Policy::TinyLfu.start(&objects, 1000);
    for round in 0..2 {
        (0..99).for_each(|id| if round == 0 { order.insert(id) } else { order.hit(id) });
    }
    let mut asked = |times: u32| {
        order.insert(99);
        (1..times).for_each(|_| order.hit(99));
        order.evict(1)
    };
    assert_eq!(asked(1), Some(99), "1 against 10");
    assert_eq!(asked(4), Some(99), "5 against 10");
    assert_ne!(asked(10), Some(99), "15 against 10: one of them goes");
}
