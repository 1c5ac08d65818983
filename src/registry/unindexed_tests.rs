//! Tests of eviction without an index.

use std::{
    fs,
    io::{Read as _, Seek as _},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Error, EvictionRules,
    disk_tests::{begin, cache, content, disk, hosted, mirrored, on_a_thread, open},
    rebuild::rebuilds::Rebuilds,
    store::{
        blob_store::{BlobStore, BlockingStore},
        manifests::{Manifests, StoredManifest},
    },
};
use crate::{
    index::{Owner, Requeue},
    lanes::{Blocking, Lane},
    oci::Digest,
    storage::{Durability, DurableStore, FileStamp, SpaceLimits},
};

/// The lease of these tests.
const LEASE: Duration = Duration::from_secs(3600);

/// Sets the modification time of a blob back.
fn age(dir: &TempDir, digest: &Digest, seconds: u64) {
    let hex = digest.hex();
    let path = dir.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let old = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

fn there(store: &BlobStore, digest: &Digest) -> bool {
    disk(store).has_blob(digest).unwrap()
}

fn evict(store: &BlobStore, bytes: u64) -> Result<u64, Error> {
    on_a_thread(|io| store.with(io).evict_unindexed(bytes))
}

async fn keep_manifest(store: &BlobStore, name: &str, child: &Digest, salt: u8) -> Digest {
    let layer = format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{child}","size":1}}"#);
    let bytes = Bytes::from(format!(r#"{{"schemaVersion":2,"annotations":{{"salt":"{salt}"}},"layers":[{layer}]}}"#));
    let manifest = std::sync::Arc::new(StoredManifest::new(Digest::sha256(&bytes), bytes).unwrap());
    Manifests::new(store.clone(), 1 << 20).store_mirrored(&mirrored(name), &manifest).await;
    let links = disk(store).links(&mirrored(name));
    links.set_tag(&"latest".parse().unwrap(), &manifest.digest, Durability::Unsynced).unwrap();
    manifest.digest
}

#[tokio::test]
async fn the_oldest_goes_and_what_is_kept_stays() {
    let dir = TempDir::new().unwrap();
    let eviction_rules =
        EvictionRules { pinned: vec!["pinned/*".parse().unwrap()], lease: LEASE, ..EvictionRules::default() };
    let store = open(&dir, SpaceLimits::default(), eviction_rules);
    let [old, older, fresh, pinned, pushed, read, named, stale] = [
        cache(&store, &mirrored("a"), content(1, 100)).await,
        cache(&store, &mirrored("a"), content(2, 100)).await,
        cache(&store, &mirrored("a"), content(3, 100)).await,
        cache(&store, &mirrored("pinned/a"), content(4, 100)).await,
        cache(&store, &mirrored("a"), content(5, 100)).await,
        cache(&store, &mirrored("a"), content(6, 100)).await,
        cache(&store, &mirrored("a"), content(7, 100)).await,
        cache(&store, &mirrored("b"), content(8, 100)).await,
    ];
    let (leased, expired) = (keep_manifest(&store, "a", &named, 1).await, keep_manifest(&store, "b", &stale, 2).await);
    assert!(store.promote(pushed).await.unwrap());
    disk(&store).links(&hosted("mine")).add_layer(&pushed, Durability::Synced).unwrap();
    for (digest, hours) in [&old, &pinned, &pushed, &read, &named, &stale, &expired].into_iter().zip(2..) {
        age(&dir, digest, 3600 * hours);
    }
    age(&dir, &older, 3600 * 24);
    let reading = store.protection.access_tracker.read(&read);
    assert_eq!(evict(&store, 1).unwrap() >> 10, 100, "one is enough");
    assert!(!there(&store, &older) && there(&store, &old), "the oldest goes first");
    evict(&store, u64::MAX).unwrap();
    for (digest, stays) in [
        (&old, false),
        (&fresh, true),
        (&pinned, true),
        (&pushed, true),
        (&read, true),
        (&named, true),
        (&leased, true),
        (&stale, false),
        (&expired, false),
    ] {
        assert_eq!(there(&store, digest), stays, "{digest}");
    }
    let links = disk(&store).links(&mirrored("b"));
    assert!(!links.has(&stale).unwrap() && !links.has(&expired).unwrap(), "links go first");
    assert_eq!(links.tag(&"latest".parse().unwrap()).unwrap(), None);
    drop(reading);
    store.protection.access_tracker.note(&read);
    store.with(Blocking::in_test()).flush_accesses();
    assert_eq!(evict(&store, u64::MAX).unwrap(), 0, "it was asked for a moment ago, and the index may be gone");
}

/// As any other eviction, it leaves a line.
#[tokio::test]
async fn an_eviction_without_an_index_is_logged() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let digest = cache(&store, &mirrored("a"), content(1, 100)).await;
    age(&dir, &digest, 3600);
    let logged = std::sync::Arc::new(tempfile::tempfile().unwrap());
    let writer = std::sync::Arc::clone(&logged);
    let freed = on_a_thread(|io| {
        let made = tracing_subscriber::fmt().with_ansi(false).with_writer(writer);
        let _guard = tracing::subscriber::set_default(made.finish());
        store.with(io).evict_unindexed(u64::MAX)
    });
    assert_eq!(freed.unwrap() >> 10, 100);
    let mut log = String::new();
    (&*logged).rewind().and_then(|()| (&*logged).read_to_string(&mut log)).unwrap();
    let line = format!("evicted digest={digest} repository=docker.io/a repositories=1 bytes=102400 ");
    assert!(log.contains(&line) && log.contains(" reason=\"room\""), "{log}");
}

/// A repository that cannot be read may link anything.
#[tokio::test]
async fn nothing_goes_when_a_repository_cannot_be_looked_at() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let cached = cache(&store, &mirrored("a"), content(1, 100)).await;
    age(&dir, &cached, 3600);
    let repositories = dir.path().join("docker/registry/v2/repositories");
    fs::create_dir_all(&repositories).unwrap();
    // A dangling symlink makes the folder unreadable, even for root.
    std::os::unix::fs::symlink("nowhere", repositories.join("team")).unwrap();
    assert!(matches!(evict(&store, u64::MAX), Err(Error::Storage(_))));
    assert!(there(&store, &cached));
    fs::remove_file(repositories.join("team")).unwrap();
    let collecting = store.protection.gc_guard.collect(Duration::ZERO);
    assert!(matches!(evict(&store, u64::MAX), Err(Error::UnderWay)));
    drop(collecting);
    assert!(evict(&store, u64::MAX).unwrap() > 0 && !there(&store, &cached));
}

/// While the index is absent, a promotion is not recorded, and the reopened index has the blob as mirrored.
#[tokio::test]
async fn what_was_promoted_while_the_index_was_away_stays() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let pushed = cache(&store, &mirrored("a"), content(1, 100)).await;
    drop(store);
    let store = begin(&dir, SpaceLimits::default(), EvictionRules::default());
    let guard = store.protection.gc_guard.guard_upload(&hosted("mine"), Some(&pushed)).await;
    assert!(store.promote(pushed).await.unwrap());
    on_a_thread(|io| Rebuilds::default().open_index(&store.with(io))).unwrap();
    assert_eq!(store.volume.index.blob_entry(&pushed).unwrap().owner, Owner::Mirrored, "the promotion was not noted");
    assert_eq!(
        on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false)),
        0,
        "somebody is about to link it"
    );
    let lock = store.protection.locks.wait_for_digest(&pushed).await;
    assert!(store.with(Blocking::in_test()).host_layer(&hosted("mine"), &pushed, &lock).unwrap());
    drop((lock, guard));
    store.volume.index.requeue(Requeue::Due(u64::MAX - 1));
    assert_eq!(
        on_a_thread(|io| store.with(io).evict_until(crate::metrics::EvictionReason::Room, |_| false)),
        0,
        "it is linked"
    );
    assert!(there(&store, &pushed));
}

/// Bytes may turn out to be damaged between their promotion and the link: no dangling link may remain.
#[tokio::test]
async fn bytes_that_went_are_not_linked() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let gone = cache(&store, &mirrored("a"), content(1, 100)).await;
    assert!(store.promote(gone).await.unwrap());
    disk(&store).remove_blob(&gone).unwrap();
    let lock = store.protection.locks.wait_for_digest(&gone).await;
    assert!(!store.with(Blocking::in_test()).host_layer(&hosted("mine"), &gone, &lock).unwrap());
    assert!(!disk(&store).links(&hosted("mine")).has_layer(&gone).unwrap());
}

/// The walk for the owners of a damaged blob runs on the lane for listings and without the digest's lock, so no request
/// waits for it.
#[tokio::test]
async fn a_search_for_damaged_bytes_blocks_no_request() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let damaged = cache(&store, &mirrored("a"), content(1, 100)).await;
    let hex = damaged.hex();
    let data = dir.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    fs::File::options().write(true).open(data).unwrap().set_len(10).unwrap();
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(parking_lot::Mutex::new(blocked));
    for _ in 0..64 {
        let blocked = std::sync::Arc::clone(&blocked);
        drop(store.execution.lanes().start(Lane::List, move |_| blocked.lock().recv()));
    }
    let mut rechecked = Box::pin(store.recheck(damaged));
    let moment = Duration::from_millis(300);
    assert!(tokio::time::timeout(moment, &mut rechecked).await.is_err(), "it waits for the lane of long walks");
    assert!(store.protection.locks.try_digest(&damaged).is_some(), "nobody waits for it");
    store.execution.lanes().run(Lane::Compute, |_| ()).await.unwrap();
    drop(go_on);
    assert!(rechecked.await.unwrap().is_none() && !there(&store, &damaged));
}

/// While another task holds the lock of a digest, the walk for the owners of its blob goes on: here to its end, at a
/// repository that cannot be read.
#[tokio::test]
async fn a_search_for_owners_needs_no_lock() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let digest = cache(&store, &mirrored("a"), content(1, 100)).await;
    let stamp = disk(&store).blob(&digest).unwrap().unwrap().stamp;
    let repositories = dir.path().join("docker/registry/v2/repositories");
    fs::create_dir_all(&repositories).unwrap();
    std::os::unix::fs::symlink("nowhere", repositories.join("team")).unwrap();
    let lock = store.protection.locks.wait_for_digest(&digest).await;
    let searches: [fn(&BlockingStore<'_>, &Digest, &FileStamp) -> bool; 2] = [
        |store, digest, stamp| matches!(store.drop_damaged(digest, stamp), Err(Error::Storage(_))),
        |store, digest, stamp| matches!(store.drop_unsynced(digest, stamp), Err(Error::Storage(_))),
    ];
    let failed = searches.map(|search| store.blocking(Lane::List, move |store| search(store, &digest, &stamp)));
    let failed = futures_util::future::join_all(failed);
    let failed = tokio::time::timeout(Duration::from_secs(5), failed).await;
    drop(lock);
    let failed: Result<Vec<_>, _> = failed.expect("a search waits for the lock").into_iter().collect();
    assert_eq!(failed.unwrap(), [true, true], "each search has failed");
    assert!(there(&store, &digest));
}

/// A walk may have passed a repository before a push to it.
#[tokio::test]
async fn what_was_pushed_during_a_walk_counts() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let begun = std::time::Instant::now();
    assert!(store.protection.gc_guard.entered_since(begun).is_empty());
    drop(store.protection.gc_guard.guard_upload(&hosted("mine"), None).await);
    assert_eq!(store.protection.gc_guard.entered_since(begun), [hosted("mine").name]);
    assert!(store.protection.gc_guard.entered_since(std::time::Instant::now()).is_empty());
}
