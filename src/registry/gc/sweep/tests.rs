//! Tests of what a collection removes and keeps.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use bytes::Bytes;

use super::*;
use crate::{
    index::Index,
    lanes::{Blocking, Lane, Lanes},
    metrics::Metrics,
    registry::{EvictionRules, rebuild::rebuilds::Rebuilds, store::blob_store::BlobStore},
    storage::{Purpose, RepositoryLinks, SpaceLimits, Storage},
};

/// The time limit for something to go while pushes protect it most of the time.
const LONGEST: Duration = Duration::from_secs(60);

fn put(store: &BlobStore, bytes: &[u8]) -> Digest {
    let (disk, digest) = (store.with(Blocking::in_test()).disk, Digest::sha256(bytes));
    let size = bytes.len() as u64;
    let staged = disk.stage(&digest, disk.reserve(Purpose::Hosted, size).unwrap(), size).unwrap();
    staged.writer().write_at(disk.io(), bytes, 0).unwrap();
    disk.publish(staged, &digest, Durability::Synced).unwrap();
    digest
}

fn manifest(layer: &Digest, more: &str) -> String {
    format!(r#"{{"schemaVersion":2,{more}"layers":[{{"digest":"{layer}","size":1}}]}}"#)
}

struct Fixture {
    _dir: tempfile::TempDir,
    store: BlobStore,
    repository: Repository,
}

impl Fixture {
    fn new(memory: Duration) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let storage = Storage::open(Blocking::in_test(), dir.path(), SpaceLimits::default()).unwrap();
        let index = Index::open(&storage.index_dir());
        let store = BlobStore::new(
            storage,
            index,
            EvictionRules::default(),
            memory,
            Metrics::new().unwrap().into(),
            Lanes::new().unwrap(),
        );
        let repository = Repository { domain: None, name: "a".parse().unwrap() };
        Self { _dir: dir, store, repository }
    }

    fn on_disk(&self) -> BlockingStore<'_> {
        self.store.with(Blocking::in_test())
    }

    fn links(&self) -> RepositoryLinks<'_> {
        self.on_disk().disk.links(&self.repository)
    }

    fn layer(&self, bytes: &[u8]) -> Digest {
        let digest = put(&self.store, bytes);
        self.links().add_layer(&digest, Durability::Synced).unwrap();
        digest
    }

    fn manifest(&self, text: &str) -> Digest {
        let digest = put(&self.store, text.as_bytes());
        self.links().add_revision(&digest, Durability::Synced).unwrap();
        digest
    }

    fn tag(&self, tag: &str, digest: &Digest) {
        self.links().set_tag(&tag.parse().unwrap(), digest, Durability::Synced).unwrap();
    }

    fn collect(&self, untagged: bool, dry: bool) -> (Collected, Vec<GcEvent>) {
        let mut found = Vec::new();
        let mut on_event = |one| {
            found.extend((one != GcEvent::Repository).then_some(one));
            ControlFlow::Continue(())
        };
        let collected = Collection { untagged, mode: Mode::new(dry), grace: Duration::from_secs(60) }
            .run(&self.on_disk(), &mut on_event)
            .unwrap();
        (collected, found)
    }
}

#[test]
fn what_nothing_reaches_goes_and_the_rest_stays() {
    let place = Fixture::new(Duration::ZERO);
    let (used, unused, orphan) = (place.layer(b"1"), place.layer(b"2"), put(&place.store, b"3"));
    let tagged = place.manifest(&manifest(&used, ""));
    let untagged = place.manifest(&manifest(&unused, ""));
    place.tag("latest", &untagged);
    place.tag("latest", &tagged);

    let (dry, found) = place.collect(true, true);
    assert_eq!((dry.manifests, dry.links, dry.blobs), (1, 1, 3), "the orphan, the untagged manifest and its layer");
    assert_eq!(found[0], GcEvent::Manifest(place.repository.clone(), untagged));
    assert!(
        place.on_disk().disk.has_blob(&orphan).unwrap() && place.links().has_revision(&untagged).unwrap(),
        "nothing is removed"
    );

    let (all, found) = place.collect(false, false);
    assert_eq!((all.blobs, found), (1, vec![GcEvent::Blob(orphan, 1)]));
    assert_eq!(place.links().previous_tags().count(), 1);
    assert_eq!(place.collect(true, false).0.blobs, 2);
    let storage = place.on_disk().disk;
    assert!(
        storage.has_blob(&used).unwrap() && storage.has_blob(&tagged).unwrap() && !storage.has_blob(&unused).unwrap()
    );
    assert!(
        place.links().has_layer(&used).unwrap()
            && !place.links().has_layer(&unused).unwrap()
            && !place.links().has_revision(&untagged).unwrap()
    );
    assert_eq!(place.links().previous_tags().count(), 0, "what the tag named before is forgotten with it");
    assert_eq!(place.collect(true, false).0, Collected::default());
}

#[test]
fn reachable_is_more_than_tagged() {
    let place = Fixture::new(Duration::ZERO);
    let (layer, cache) = (place.layer(b"1"), place.layer(b"2"));
    let child = place.manifest(&manifest(&layer, ""));
    let index = place.manifest(&format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{child}","size":1}},{{"digest":"{cache}","size":1}}]}}"#
    ));
    place.tag("latest", &index);
    let subject = format!(r#""subject":{{"digest":"{child}","size":1}},"#);
    let (signature, other) = (place.layer(b"3"), place.layer(b"4"));
    place.manifest(&manifest(&signature, &subject));
    let lost = format!(r#""subject":{{"digest":"{}","size":1}},"#, Digest::sha256(b"nothing"));
    place.manifest(&manifest(&other, &lost));
    let (collected, _) = place.collect(true, false);
    assert_eq!((collected.manifests, collected.links, collected.blobs), (1, 1, 2), "what refers to nothing");
    assert!([layer, cache, signature].iter().all(|digest| place.on_disk().disk.has_blob(digest).unwrap()));
}

#[test]
fn what_was_pushed_a_moment_ago_stays() {
    let place = Fixture::new(Duration::from_secs(60));
    let layer = place.layer(b"1");
    let orphan = put(&place.store, b"2");
    let (collected, _) = place.collect(true, false);
    assert_eq!(collected, Collected { active: 1, ..Collected::default() });
    assert!(place.links().has_layer(&layer).unwrap() && place.on_disk().disk.has_blob(&orphan).unwrap());
}

#[test]
fn what_is_promised_under_way_stays() {
    let place = Fixture::new(Duration::ZERO);
    let (wanted, unwanted) = (place.layer(b"1"), place.layer(b"2"));
    let mut on_event = |_| {
        let tasks = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tasks.block_on(place.store.protection.gc_guard.protect(&wanted));
        ControlFlow::Continue(())
    };
    let other = Repository { domain: None, name: "b".parse().unwrap() };
    place.on_disk().disk.links(&other).add_layer(&wanted, Durability::Synced).unwrap();
    let collection = Collection { untagged: true, mode: Mode::Remove, grace: Duration::ZERO };
    let collected = collection.run(&place.on_disk(), &mut on_event).unwrap();
    assert!(place.on_disk().disk.has_blob(&wanted).unwrap() && !place.on_disk().disk.has_blob(&unwanted).unwrap());
    assert_eq!(collected.blobs, 1);
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_its_repository() {
    let place = Fixture::new(Duration::ZERO);
    let layer = place.layer(b"1");
    let broken = place.manifest("{");
    place.tag("latest", &broken);
    assert_eq!(place.collect(true, false).0, Collected::default());
    assert!(place.links().has_layer(&layer).unwrap() && place.on_disk().disk.has_blob(&layer).unwrap());
}

#[test]
fn mirrored_links_keep_their_bytes_and_no_more() {
    let place = Fixture::new(Duration::ZERO);
    let layer = place.layer(b"1");
    let mirrored = Repository { domain: Some(crate::oci::Domain::docker_hub()), ..place.repository.clone() };
    place.on_disk().disk.links(&mirrored).add_layer(&layer, Durability::Unsynced).unwrap();
    place.store.volume.index.restored(&layer);
    let (collected, _) = place.collect(false, false);
    assert_eq!((collected.links, collected.blobs), (1, 0));
    assert!(place.on_disk().disk.has_blob(&layer).unwrap());
    assert!(!place.store.volume.index.origins(&layer).hosted, "it may be evicted from here on");
}

/// Pushes a blob repeatedly, and until something went, and checks that it exists while the push relies on it.
async fn push(store: &BlobStore, name: &str, bytes: &Bytes, gone: &AtomicU64) {
    let (place, digest) = (Repository { domain: None, name: name.parse().unwrap() }, Digest::sha256(bytes));
    let mirrored = Repository { domain: Some(crate::oci::Domain::docker_hub()), ..place.clone() };
    let begun = Instant::now();
    let goes_on = |round: u64| round < 60 || gone.load(Ordering::SeqCst) == 0 && begun.elapsed() < LONGEST;
    for round in (0..).take_while(|round| goes_on(*round)) {
        let guard = store.protection.gc_guard.guard_manifest(&place, &digest).await;
        while !store.promote(digest).await.unwrap() {
            store.write(digest, bytes.clone(), Durability::Synced).await.unwrap();
        }
        let (lock, into) = (store.protection.locks.wait_for_digest(&digest).await, place.clone());
        let link = move |store: &BlockingStore<'_>| store.host_layer(&into, &digest, &lock);
        assert!(store.blocking(Lane::Sync, link).await.unwrap().unwrap(), "{name} in round {round}");
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_micros(200)).await;
            assert!(store.with(Blocking::in_test()).disk.has_blob(&digest).unwrap(), "{name} in round {round}");
            assert!(
                store.with(Blocking::in_test()).disk.links(&place).has_layer(&digest).unwrap(),
                "{name} in round {round}"
            );
        }
        drop(guard);
        if round % 8 == 0 {
            store.link_layer(&mirrored, digest).await;
        }
        tokio::time::sleep(Duration::from_millis(round % 4 * 20)).await;
    }
}

/// A removal is registered under the lock and carried out without it. A concurrent push either finds the blob gone and
/// sends it again, or protects it. Collections and evictions run all the time here.
#[test]
fn what_is_pushed_while_it_goes_is_there() {
    let place = Fixture::new(Duration::ZERO);
    let (store, bytes, over) = (&place.store, &Bytes::from_static(b"wanted"), &AtomicBool::new(false));
    let gone = &AtomicU64::new(0);
    Rebuilds::default().rebuild(&store.with(Blocking::in_test())).unwrap();
    let collection = Collection { untagged: true, mode: Mode::Remove, grace: Duration::ZERO };
    std::thread::scope(|scope| {
        let pushing = ["a", "b", "c"].map(|name| {
            scope.spawn(move || {
                let tasks = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                tasks.block_on(push(store, name, bytes, gone));
            })
        });
        let collecting = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let collected = collection.run(&store.with(Blocking::in_test()), &mut |_| ControlFlow::Continue(()));
                gone.fetch_add(collected.unwrap().blobs, Ordering::SeqCst);
            }
        });
        let evicting = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                gone.fetch_add(
                    store.with(Blocking::in_test()).evict_until(crate::metrics::EvictionReason::Room, |_| false),
                    Ordering::SeqCst,
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let pushed = pushing.map(std::thread::ScopedJoinHandle::join);
        over.store(true, Ordering::SeqCst);
        assert!(collecting.join().is_ok() && evicting.join().is_ok());
        assert!(pushed.iter().all(Result::is_ok));
        assert!(gone.load(Ordering::SeqCst) > 0, "nothing went: this shows nothing");
    });
}
