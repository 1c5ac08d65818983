//! Tests of reservations: what they evict, what they wait for, and what they are refused with.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    EvictionRules,
    disk_tests::{agrees, begin, cache, content, disk, mirrored, on_a_thread, open},
    rebuild::rebuilds::Rebuilds,
    store::{access_tracker, hashing_writer::HashState, space_state::Shortage},
};
use crate::{
    index::{Arrival, BlobKind, Origins},
    lanes::Blocking,
    oci::Digest,
    storage::{Bound, Durability, Purpose, SpaceLimits},
};

#[tokio::test]
async fn space_is_freed_only_if_it_suffices() {
    let dir = TempDir::new().unwrap();
    let quota = Some(Bound::Bytes((20 << 20) + (4 << 20)));
    let store = open(&dir, SpaceLimits { quota, ..SpaceLimits::default() }, EvictionRules::default());
    let mut cached = Vec::new();
    for seed in 0..20 {
        cached.push(cache(&store, &mirrored("a"), content(seed, 300)).await);
    }
    let here = cached.iter().filter(|digest| disk(&store).has_blob(digest).unwrap()).count();
    assert!((5..15).contains(&here), "{here} of 300 KiB in some 4 MiB");
    assert!(store.reserve_object(Purpose::Mirrored, 8 << 20).await.is_err(), "larger than a quarter");
    assert!(store.reserve_object(Purpose::Hosted, 8 << 20).await.is_err(), "larger than all there is");
    let after = cached.iter().filter(|digest| disk(&store).has_blob(digest).unwrap()).count();
    assert_eq!(here, after, "nothing made way in vain");
    let said = store.reserve_object(Purpose::Hosted, 8 << 20).await.unwrap_err().to_string();
    assert!(said.starts_with("the quota is exceeded: ") && said.contains(&format!("{}", 24 << 20)), "{said}");
    let reservation = store.reserve_object(Purpose::Hosted, 3 << 20).await.unwrap();
    assert!(reservation.promised() >= 3 << 20);
}

/// An object that cannot fit beside leased content must not evict anything, since it would not be cached anyway.
#[tokio::test]
async fn nothing_is_evicted_if_it_does_not_suffice() {
    let dir = TempDir::new().unwrap();
    let limits =
        SpaceLimits { quota: Some(Bound::Bytes(60 << 20)), object: Bound::Share(100), ..SpaceLimits::default() };
    let store = open(&dir, limits, EvictionRules { lease: Duration::from_secs(60), ..EvictionRules::default() });
    let (mut old, mut leased) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let digest = cache(&store, &mirrored("old"), content(seed, 300)).await;
        let index = &store.volume.index;
        let (allocated, stamp) = (index.blob_entry(&digest).unwrap().allocated, index.stamp(&digest).unwrap());
        index.removed(&digest);
        let origins = Origins { mirrored: true, hosted: false };
        index.published(&digest, &Arrival { stamp, allocated, origins, kind: BlobKind::Blob, now: 0 });
        old.push(digest);
    }
    for seed in 100..180 {
        leased.push(cache(&store, &mirrored("new"), content(seed, 300)).await);
    }
    let here = |digests: &[Digest]| digests.iter().filter(|digest| disk(&store).has_blob(digest).unwrap()).count();
    for purpose in [Purpose::Mirrored, Purpose::Hosted] {
        let said = store.reserve_object(purpose, 20 << 20).await.unwrap_err().to_string();
        assert!(said.contains("storage.quota") && said.contains("bytes of mirrored content were asked for"), "{said}");
        assert!(said.contains(": enough of them may go at 20"), "{said}");
        assert!(store.could_fit(purpose, 20 << 20).await.is_err());
    }
    assert_eq!((here(&old), here(&leased)), (20, 80));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(store.could_fit(Purpose::Mirrored, 13 << 20).await.is_ok());
    assert_eq!((here(&old), here(&leased)), (20, 80), "nothing goes before it comes");
    let _reservation = store.reserve_object(Purpose::Mirrored, 13 << 20).await.unwrap();
    let left = here(&old);
    assert!((1..20).contains(&left) && here(&leased) == 80, "{left} of 20 are left");
}

/// A request that only asks does not take for missing what another one has reserved ahead and is about to free.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_request_frees_is_not_missing_to_a_question() {
    let dir = TempDir::new().unwrap();
    let quota = Some(Bound::Bytes((20 << 20) + (4 << 20)));
    let store = open(&dir, SpaceLimits { quota, ..SpaceLimits::default() }, EvictionRules::default());
    for seed in 0..20 {
        cache(&store, &mirrored("a"), content(seed, 300)).await;
    }
    let (turn, ahead) = (store.space.turn().await, disk(&store).reserve_ahead(30 << 20));
    let frees = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let at_once = on_a_thread(|io| store.with(io).may_fit(Purpose::Hosted, 1 << 20));
        assert!(at_once.is_ok(), "{at_once:?}");
        drop((ahead, turn));
    };
    let (asked, ()) = tokio::join!(store.could_fit(Purpose::Hosted, 1 << 20), frees);
    asked.unwrap();
}

/// Until all is counted, nothing is known to be within its bound.
#[tokio::test]
async fn an_unknown_count_is_no_room() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    assert!(disk(&store).overdraft(Purpose::Mirrored).is_none());
    store.volume.ledger().set_known(false);
    assert!(disk(&store).overdraft(Purpose::Mirrored).is_some_and(|over| over.is_counting()));
}

/// A shortage is believed until something becomes evictable.
#[test]
fn a_shortage_ends_with_the_first_lease() {
    let ttl = Duration::from_secs(60);
    let shortage = |next_due| Shortage { found: Instant::now(), available: 0, next_due };
    let now = access_tracker::now();
    assert!(shortage(None).holds(ttl) && shortage(Some(now + 60)).holds(ttl));
    assert!(!shortage(Some(now)).holds(ttl) && !shortage(None).holds(Duration::ZERO));
}

/// Small requests take what is free without waiting: a large one gets its space all the same.
#[tokio::test(flavor = "multi_thread")]
async fn small_reservations_do_not_starve_a_large_one() {
    let dir = TempDir::new().unwrap();
    let limits =
        SpaceLimits { quota: Some(Bound::Bytes(60 << 20)), object: Bound::Share(100), ..SpaceLimits::default() };
    let store = open(&dir, limits, EvictionRules { lease: Duration::ZERO, ..EvictionRules::default() });
    for seed in 0..100 {
        cache(&store, &mirrored("old"), content(seed, 300)).await;
    }
    let small: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            Handle::current().spawn(async move {
                let mut held = std::collections::VecDeque::new();
                loop {
                    held.extend(disk(&store).reserve(Purpose::Mirrored, 16 << 10));
                    if held.len() > 400 {
                        held.pop_front();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // Until all is taken that was free.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let large = store.reserve_object(Purpose::Hosted, 20 << 20).await.map(drop);
    small.iter().for_each(tokio::task::JoinHandle::abort);
    large.unwrap();
}

/// In the first moments after a start the disk is not counted yet: a miss waits for the count and is then stored.
#[tokio::test]
async fn a_miss_waits_until_the_disk_is_counted() {
    let dir = TempDir::new().unwrap();
    let store = begin(&dir, SpaceLimits::default(), EvictionRules::default());
    let asking = store.clone();
    let miss = Handle::current().spawn(async move { asking.reserve_object(Purpose::Mirrored, 10).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!miss.is_finished());
    let said = disk(&store).reserve(Purpose::Mirrored, 10).unwrap_err().to_string();
    assert!(said.starts_with("what is stored is still being counted since the start"), "{said}");
    Rebuilds::default().open_index(&store.with(Blocking::in_test())).unwrap();
    miss.await.unwrap().unwrap();
}

/// A refusal names the configuration key of the limit.
#[tokio::test]
async fn a_refusal_names_the_bound() {
    let dir = TempDir::new().unwrap();
    let said = |limits: SpaceLimits, purpose, bytes: u64| {
        let store = open(&dir, limits, EvictionRules::default());
        disk(&store).reserve(purpose, bytes).unwrap_err().to_string()
    };
    let limits = |quota, headroom| SpaceLimits { quota, headroom, object: Bound::Share(50) };
    let quota = Some(Bound::Bytes(64 << 20));
    let larger = said(limits(quota, None), Purpose::Mirrored, 33 << 20);
    assert!(
        larger.contains("34603008 bytes are more than one blob may have to be kept (storage.maxobject: "),
        "{larger}"
    );
    let beyond = said(limits(quota, None), Purpose::Hosted, 64 << 20);
    let ends = ("the quota is exceeded: ", "67108864 allowed (storage.quota)");
    assert!(beyond.starts_with(ends.0) && beyond.contains(ends.1), "{beyond}");
    let full = said(limits(None, Some(Bound::Share(100))), Purpose::Hosted, 1);
    assert!(full.starts_with("no space left on device: ") && full.contains("storage.headroom"), "{full}");
}

/// Partial blobs are evicted before anything else.
#[tokio::test]
async fn partial_blobs_are_removed_first() {
    let dir = TempDir::new().unwrap();
    let limits = SpaceLimits { quota: Some(Bound::Bytes(40 << 20)), ..SpaceLimits::default() };
    let store = open(&dir, limits, EvictionRules::default());
    let cached = cache(&store, &mirrored("a"), content(1, 1024)).await;
    for number in 0..2_u8 {
        let staged = store.stage(&Digest::sha256(&[1]), Purpose::Mirrored, 6 << 20).await.unwrap();
        let digest = Digest::sha256(&[number]);
        store.space.partial_blobs.put(&digest, staged, Box::new(HashState::new(digest.hasher())), 6 << 20);
    }
    agrees(&store, &dir, "with both halves");
    let reservation = store.reserve_object(Purpose::Hosted, 10 << 20).await.unwrap();
    assert_eq!(store.space.partial_blobs.bytes(), 6 << 20, "the older one went");
    assert!(store.space.partial_blobs.take(&Digest::sha256(&[1])).is_some() && disk(&store).has_blob(&cached).unwrap());
    drop(reservation);
    agrees(&store, &dir, "afterwards");
}

/// The quota applies to pushes while the disk is not counted yet: they wait.
#[tokio::test]
async fn a_push_waits_until_the_disk_is_counted() {
    let dir = TempDir::new().unwrap();
    let limits = SpaceLimits { quota: Some(Bound::Bytes(40 << 20)), ..SpaceLimits::default() };
    let store = open(&dir, limits, EvictionRules::default());
    let pushed = Bytes::from(content(1, 10 << 10));
    store.write(Digest::sha256(&pushed), pushed, Durability::Synced).await.unwrap();
    drop(store);
    // As after a crash, there are no stored totals.
    let store = begin(&dir, limits, EvictionRules::default());
    assert!(store.could_fit(Purpose::Hosted, 8 << 20).await.is_ok(), "nobody can tell yet");
    let asking = store.clone();
    let small = Handle::current().spawn(async move { asking.reserve_object(Purpose::Hosted, 2 << 20).await });
    let asking = store.clone();
    let large =
        Handle::current().spawn(async move { asking.reserve_object(Purpose::Hosted, 16 << 20).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!small.is_finished() && !large.is_finished());
    on_a_thread(|io| Rebuilds::default().open_index(&store.with(io))).unwrap();
    assert!(small.await.unwrap().is_ok());
    let said = large.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("the quota is exceeded") && !said.contains("counted"), "{said}");
}
