//! Tests of what survives the loss of the index: the order of eviction, last uses, and pins.

use std::time::Duration;

use tempfile::TempDir;

use super::{
    EvictionRules,
    disk_tests::{cache, content, disk, mirrored, on_a_thread, open},
    rebuild::{rebuilds::Rebuilds, saved_uses::SavedUses, scan::scan},
    store::blob_store::BlobStore,
};
use crate::{
    index::{Closing, Uses},
    lanes::Blocking,
    oci::Digest,
    storage::SpaceLimits,
};

fn pinning() -> EvictionRules {
    EvictionRules { pinned: vec!["base/*".parse().unwrap()], lease: Duration::ZERO, ..EvictionRules::default() }
}

/// The blob of a pinned repository.
fn pinned() -> Digest {
    Digest::sha256(&content(3, 100))
}

/// Returns the evictable blobs in their order, each with its last use and number of uses. A pinned one leaves the queue
/// when it is first considered.
fn queue(store: &BlobStore) -> Vec<(Digest, u64, u32)> {
    let (digests, _) = store.volume.index.next_in_queue(None, 1000);
    let entry = |digest: &Digest| store.volume.index.blob_entry(digest).unwrap();
    digests
        .into_iter()
        .filter(|digest| *digest != pinned())
        .map(|digest| (digest, entry(&digest).used, entry(&digest).uses))
        .collect()
}

/// Caches blobs of several sizes, uses them, and evicts some, so that ranks depend on the history.
async fn fill(store: &BlobStore) -> Vec<Digest> {
    let mut cached = Vec::new();
    for seed in 0..12_u8 {
        let place = mirrored(if seed == 3 { "base/one" } else { "team/one" });
        cached.push(cache(store, &place, content(seed, 10 + usize::from(seed % 5) * 30)).await);
    }
    let uses = |count, last| Uses { count, last };
    store.volume.index.used([(cached[1], uses(5, 2_000_000_000)), (cached[2], uses(1, 2_000_000_001))]);
    on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |freed| freed >= 300 << 10));
    cached.retain(|digest| disk(store).has_blob(digest).unwrap());
    store.volume.index.used([(cached[0], uses(2, 2_000_000_002)), (cached[4], uses(1, 2_000_000_003))]);
    cached
}

#[tokio::test]
async fn the_order_of_eviction_survives_a_deleted_index() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), pinning());
    let cached = fill(&store).await;
    let (before, clock) = (queue(&store), store.volume.index.eviction_clock());
    assert!(before.len() > 4 && clock > 0);
    SavedUses::default().save(&store.with(Blocking::in_test()));
    store.volume.index.close(Closing::Quiet(store.volume.ledger_totals()));
    drop(store);
    for _ in 0..2 {
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = open(&dir, SpaceLimits::default(), pinning());
        assert_eq!(queue(&store), before);
        assert!(store.volume.index.eviction_clock() >= clock);
    }
    let store = open(&dir, SpaceLimits::default(), pinning());
    assert!(cached.contains(&pinned()));
    on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false));
    let left: Vec<_> = cached.iter().filter(|digest| disk(&store).has_blob(digest).unwrap()).collect();
    assert_eq!(left, [&pinned()], "what is pinned stays, and only that");
}

#[tokio::test]
async fn the_order_of_eviction_survives_a_kill_and_a_rebuild() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), pinning());
    fill(&store).await;
    let before = queue(&store);
    on_a_thread(|io| Rebuilds::default().rebuild(&store.with(io))).unwrap();
    assert_eq!(queue(&store), before, "the index was made anew");
    // Dropped without a close, as after a kill.
    drop(store);
    let store = open(&dir, SpaceLimits::default(), pinning());
    assert_eq!(queue(&store), before);
}

/// A blob that is used during a rebuild of the index ranks above blobs that were evicted before, and keeps its past
/// uses.
#[tokio::test]
async fn uses_since_the_start_are_added_to_past_ones() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), pinning());
    fill(&store).await;
    let before = queue(&store);
    SavedUses::default().save(&store.with(Blocking::in_test()));
    store.volume.index.clear();
    on_a_thread(|io| scan(&store.with(io))).unwrap();
    let (first, _, uses) = before[0];
    store.volume.index.used([(first, Uses { count: 1, last: 2_000_000_010 })]);
    on_a_thread(|io| Rebuilds::default().open_index(&store.with(io))).unwrap();
    let entry = store.volume.index.blob_entry(&first).unwrap();
    assert!(entry.uses > uses && entry.used == 2_000_000_010, "{entry:?}");
    assert_ne!(queue(&store)[0].0, first, "it was just used");
}

/// Uses that cannot be read are not taken for none: the file stays, and is read at the next start.
#[tokio::test]
async fn uses_that_cannot_be_read_are_kept() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), pinning());
    fill(&store).await;
    let before = queue(&store);
    SavedUses::default().save(&store.with(Blocking::in_test()));
    let uses = dir.path().join("uses");
    let saved = std::fs::read(&uses).unwrap();
    std::fs::remove_file(&uses).unwrap();
    std::fs::create_dir(&uses).unwrap();
    store.volume.index.clear();
    on_a_thread(|io| Rebuilds::default().rebuild(&store.with(io))).unwrap();
    std::fs::remove_dir(&uses).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(&uses).unwrap(), &saved).unwrap();
    SavedUses::default().save(&store.with(Blocking::in_test()));
    on_a_thread(|io| Rebuilds::default().rebuild(&store.with(io))).unwrap();
    assert_eq!(queue(&store), before);
}

/// An index that does not know all uses yet does not replace those that were saved.
#[tokio::test]
async fn what_was_saved_is_kept_until_it_is_restored() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), pinning());
    fill(&store).await;
    SavedUses::default().save(&store.with(Blocking::in_test()));
    let saved = disk(&store).last_uses().unwrap();
    assert!(saved.is_some());
    store.volume.index.clear();
    SavedUses::default().save(&store.with(Blocking::in_test()));
    store.volume.index.set_complete();
    SavedUses::default().save(&store.with(Blocking::in_test()));
    assert_eq!(disk(&store).last_uses().unwrap(), saved);
}
