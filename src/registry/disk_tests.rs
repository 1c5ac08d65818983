//! Tests of the ledger against the disk usage found by `du`, and of eviction.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Error, EvictionRules,
    rebuild::{rebuilds::Rebuilds, scan::scan},
    store::{
        blob_store::BlobStore,
        manifests::{Manifests, StoredManifest},
        tag_cache::TagAnswer,
    },
};
use crate::{
    index::{BlobKind, Closing, Index, Owner, Requeue},
    lanes::{Blocking, Lanes},
    metrics::Metrics,
    oci::{Digest, Domain, Repository, Tag, UploadId},
    storage::{Disk, Durability, DurableStore, Opened, Purpose, SpaceLimits, Storage, UploadFile},
};

pub(super) fn open(dir: &TempDir, limits: SpaceLimits, eviction_rules: EvictionRules) -> BlobStore {
    let store = begin(dir, limits, eviction_rules);
    on_a_thread(|io| Rebuilds::default().open_index(&store.with(io))).unwrap();
    store
}

/// Opens a store in the state of a server that has just started.
pub(super) fn begin(dir: &TempDir, limits: SpaceLimits, eviction_rules: EvictionRules) -> BlobStore {
    let storage = Storage::open(Blocking::in_test(), dir.path(), limits).unwrap();
    let index = Index::unopened(&storage.index_dir(), 1 << 20);
    BlobStore::new(
        storage,
        index,
        eviction_rules,
        Duration::ZERO,
        Metrics::new().unwrap().into(),
        Lanes::new().unwrap(),
    )
}

/// Returns the disk of a store, for a test that may block.
pub(super) fn disk(store: &BlobStore) -> Disk<'_> {
    store.with(Blocking::in_test()).disk
}

/// Runs blocking work on a thread of its own, since blocking locks panic in async tasks.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce(&Blocking) -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| work(Blocking::in_test())).join().unwrap())
}

pub(super) fn mirrored(name: &str) -> Repository {
    Repository { domain: Some(Domain::docker_hub()), name: name.parse().unwrap() }
}

pub(super) fn hosted(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

/// Returns the allocated bytes of a tree, once per inode, as `du` counts them.
fn du(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).unwrap();
    let below = match meta.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| du(&entry.unwrap().path())).sum(),
        false => 0,
    };
    meta.blocks() * 512 + below
}

pub(super) fn agrees(store: &BlobStore, dir: &TempDir, when: &str) {
    let usage = disk(store).usage();
    let (by_ledger, found) = (usage.total() - usage.index, du(dir.path()) - du(&dir.path().join("index")));
    assert_eq!(by_ledger, found, "{when}: {usage:?}");
}

pub(super) async fn cache(store: &BlobStore, place: &Repository, bytes: Vec<u8>) -> Digest {
    let digest = Digest::sha256(&bytes);
    let staged = store.stage(&digest, Purpose::Mirrored, bytes.len() as u64).await.unwrap();
    staged.writer().write_at(Blocking::in_test(), &bytes, 0).unwrap();
    store.publish(staged, digest, Durability::Unsynced, BlobKind::Blob).await.unwrap();
    store.link_layer(place, digest).await;
    digest
}

pub(super) fn content(seed: u8, kib: usize) -> Vec<u8> {
    (0..kib << 10).map(|at| seed ^ u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn the_books_are_what_du_finds() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    agrees(&store, &dir, "at the start");
    let mut cached = Vec::new();
    for seed in 0..100 {
        cached.push(cache(&store, &mirrored(&format!("team/image{}", seed % 7)), content(seed, 37)).await);
    }
    agrees(&store, &dir, "with a cache");
    store.write(Digest::sha256(b"{}"), Bytes::from_static(b"{}"), Durability::Synced).await.unwrap();
    let links = disk(&store).links(&hosted("mine"));
    links.add_revision(&Digest::sha256(b"{}"), Durability::Synced).unwrap();
    for tag in ["a", "b", "c"] {
        links.set_tag(&tag.parse().unwrap(), &Digest::sha256(b"{}"), Durability::Synced).unwrap();
    }
    let lock = store.protection.locks.wait_for_digest(&cached[3]).await;
    assert!(store.with(Blocking::in_test()).host_layer(&hosted("mine"), &cached[3], &lock).unwrap());
    drop(lock);
    let uploads = disk(&store).uploads(&hosted("mine"));
    let session = uploads.begin(UploadId::random(), "2026-01-02T03:04:05Z").unwrap();
    agrees(&store, &dir, "with a push");
    let Opened::Writable(UploadFile { writer, allocation }) = session.writer(0).unwrap() else { panic!("it is busy") };
    allocation.grow(Blocking::in_test(), disk(&store).reserve(Purpose::Hosted, 8 << 20).unwrap(), 8 << 20).unwrap();
    writer.write_at(Blocking::in_test(), &content(1, 100), 0).unwrap();
    agrees(&store, &dir, "while a session grows");
    drop((writer, allocation));
    agrees(&store, &dir, "when it is written no more");
    let freed = on_a_thread(|io| {
        store.with(io).evict_until(crate::metrics::EvictionReason::Room, |freed| freed >= (50 * 37) << 10)
    });
    assert!((50 * 37..51 * 40).contains(&(freed >> 10)), "{freed} bytes went");
    links.remove_tag(&"b".parse().unwrap()).unwrap();
    agrees(&store, &dir, "after an eviction");
    session.remove().unwrap();
    agrees(&store, &dir, "after the session");
    on_a_thread(|io| scan(&store.with(io))).unwrap();
    agrees(&store, &dir, "after a survey");
    let usage = disk(&store).usage();
    assert_eq!((usage.hosted.objects(), usage.promised), (2, 0));
}

/// A session has one writer until all work of it has ended, so late work cannot truncate the next writer's bytes.
#[tokio::test]
async fn a_session_is_opened_once_at_a_time() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let session = disk(&store).uploads(&hosted("mine")).begin(UploadId::random(), "2026-01-02T03:04:05Z").unwrap();
    let Opened::Writable(UploadFile { writer, allocation }) = session.writer(0).unwrap() else { panic!("it is busy") };
    let room = disk(&store).reserve(Purpose::Hosted, 1 << 20).unwrap();
    allocation.grow(Blocking::in_test(), room, 1 << 20).unwrap();
    writer.write_at(Blocking::in_test(), &content(1, 100), 0).unwrap();
    assert!(matches!(session.writer(0).unwrap(), Opened::Busy));
    drop(writer);
    // The writer is gone, but an allocation may still be under way.
    assert!(matches!(session.writer(0).unwrap(), Opened::Busy));
    assert_eq!(session.received().unwrap(), Some(100 << 10), "nothing was cut off");
    drop(allocation);
    assert!(matches!(session.writer(100 << 10).unwrap(), Opened::Writable(..)));
    agrees(&store, &dir, "after three who came too early");
}

/// After the store is closed, nothing is stored and nothing is evicted: a late fill would be missing in the totals.
#[tokio::test]
async fn closed_books_stay_as_they_are() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let cached = cache(&store, &mirrored("a"), content(1, 100)).await;
    let late = store.stage(&Digest::sha256(b"late"), Purpose::Mirrored, 10).await.unwrap();
    assert!(store.execution.close());
    let totals = store.volume.ledger().totals();
    let published = store.publish(late, Digest::sha256(b"late"), Durability::Unsynced, BlobKind::Blob).await;
    assert!(matches!(published, Err(Error::ShuttingDown)), "{published:?}");
    assert_eq!(
        on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |freed| freed >= 1 << 20)),
        0
    );
    assert!(disk(&store).has_blob(&cached).unwrap() && store.volume.ledger().totals() == totals);
}

#[tokio::test]
async fn the_books_survive_a_stop_and_a_kill() {
    let dir = TempDir::new().unwrap();
    for stop in [true, false, true] {
        let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
        agrees(&store, &dir, "at the start");
        for kib in 1..20 {
            cache(&store, &mirrored("a"), content(2 - u8::from(stop), kib)).await;
        }
        agrees(&store, &dir, "before the end");
        if stop {
            store.with(Blocking::in_test()).flush_accesses();
            store.volume.index.close(Closing::Quiet(store.volume.ledger_totals()));
        }
    }
}

/// The index is opened beside the first requests. Their changes are neither lost nor counted twice.
#[tokio::test]
async fn the_ledger_survives_a_push_before_the_index_is_open() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let cached = cache(&store, &mirrored("a"), content(1, 100)).await;
    store.volume.index.close(Closing::Quiet(store.volume.ledger_totals()));
    drop(store);
    for (push, drop_cached) in [(false, false), (true, false), (false, true)] {
        let store = begin(&dir, SpaceLimits::default(), EvictionRules::default());
        assert!(disk(&store).reserve(Purpose::Mirrored, 10).is_err(), "nothing is cached yet");
        if push {
            store.write(Digest::sha256(b"{}"), Bytes::from_static(b"{}"), Durability::Synced).await.unwrap();
        }
        let links = disk(&store).links(&hosted("mine"));
        links.add_revision(&Digest::sha256(b"{}"), Durability::Synced).unwrap();
        if drop_cached {
            disk(&store).remove_blob(&cached).unwrap();
            store.volume.index.removed(&cached);
        }
        on_a_thread(|io| Rebuilds::default().open_index(&store.with(io))).unwrap();
        agrees(&store, &dir, "when the index is open");
        assert!(store.volume.index.is_complete());
        assert_eq!(store.volume.index.was_complete(), !push && !drop_cached, "whether the disk had to be looked at");
        assert_eq!(store.volume.index.blob_entry(&cached).is_some(), !drop_cached);
        store.volume.index.close(Closing::Quiet(store.volume.ledger_totals()));
    }
}

#[tokio::test]
async fn what_is_pushed_pinned_read_or_leased_stays() {
    let dir = TempDir::new().unwrap();
    let eviction_rules = EvictionRules { pinned: vec!["pinned/*".parse().unwrap()], ..EvictionRules::default() };
    let store = open(&dir, SpaceLimits::default(), eviction_rules);
    let free = cache(&store, &mirrored("a"), content(1, 10)).await;
    let pinned = cache(&store, &mirrored("pinned/a"), content(2, 10)).await;
    let pushed = cache(&store, &mirrored("a"), content(3, 10)).await;
    let read = cache(&store, &mirrored("a"), content(4, 10)).await;
    assert!(store.promote(pushed).await.unwrap());
    let reading = store.protection.access_tracker.read(&read);
    on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false));
    let there = |digest| disk(&store).has_blob(digest).unwrap();
    assert!(!there(&free) && there(&pinned) && there(&pushed) && there(&read));
    assert_eq!(store.volume.index.blob_entry(&pushed).unwrap().owner, Owner::Hosted);
    drop(reading);
    store.volume.index.requeue(Requeue::Due(u64::MAX - 1));
    on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false));
    assert!(!there(&read) && there(&pinned));
    let repository = disk(&store).links(&mirrored("a"));
    assert_eq!(repository.layers().collect::<Result<Vec<_>, _>>().unwrap(), [pushed]);

    let leased = EvictionRules { lease: Duration::from_secs(60), ..EvictionRules::default() };
    let other = TempDir::new().unwrap();
    let store = open(&other, SpaceLimits::default(), leased);
    let served = cache(&store, &mirrored("a"), content(1, 10)).await;
    assert_eq!(on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false)), 0);
    assert!(disk(&store).has_blob(&served).unwrap());
}

/// A manifest may be evicted between its write and its link: no dangling link may remain.
#[tokio::test]
async fn an_evicted_manifest_is_not_linked() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let (manifests, place) = (Manifests::new(store.clone(), 1 << 20), mirrored("library/gone"));
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"layers":[]}"#);
    let manifest = Arc::new(StoredManifest::new(Digest::sha256(&bytes), bytes.clone()).unwrap());
    let tag: Tag = "latest".parse().unwrap();
    let answer = TagAnswer { head: Some(manifest.head()), asked: SystemTime::now() };
    assert!(store.tag_cache.note(&(place.clone(), tag.clone()), answer));
    manifests.link(&place, &manifest).await.unwrap();
    let links = disk(&store).links(&place);
    assert!(!links.has_revision(&manifest.digest).unwrap() && links.tag(&tag).unwrap().is_none());
    store.write(manifest.digest, bytes, Durability::Unsynced).await.unwrap();
    manifests.link(&place, &manifest).await.unwrap();
    assert!(links.has_revision(&manifest.digest).unwrap() && links.tag(&tag).unwrap() == Some(manifest.digest));
}

/// A blob may be removed while its bytes are hashed: nothing of it stays in the index.
#[tokio::test]
async fn a_blob_that_went_while_it_was_hashed_leaves_no_record() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules { lease: Duration::ZERO, ..EvictionRules::default() });
    let before = store.volume.index.dump();
    let digest = cache(&store, &mirrored("a"), content(1, 10)).await;
    let hashed = disk(&store).blob(&digest).unwrap().unwrap();
    on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false));
    on_a_thread(|io| store.with(io).settle(&digest, &hashed)).unwrap();
    assert_eq!(store.volume.index.dump(), before);
}
