//! The disk's books against the disk itself, and who makes way for whom.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    Error, Retention,
    heard::Word,
    manifests::{Manifests, StoredManifest},
    objects::Objects,
    pen::Ink,
};
use crate::{
    index::{Index, Owner},
    lanes::Lanes,
    metrics::Metrics,
    oci::{Digest, Domain, Repository, Tag, UploadId},
    storage::{Bound, Durability, Limits, Opened, Purpose, Storage},
};

pub(super) fn open(dir: &TempDir, limits: Limits, retention: Retention) -> Objects {
    let objects = begin(dir, limits, retention);
    on_a_thread(|| objects.resume_index()).unwrap();
    objects
}

/// As a server that has just started.
pub(super) fn begin(dir: &TempDir, limits: Limits, retention: Retention) -> Objects {
    let storage = Storage::open(dir.path(), limits).unwrap();
    let index = Index::begin(&storage.index_dir());
    Objects::new(storage, index, retention, Duration::ZERO, Metrics::new().unwrap().into(), Lanes::new().unwrap())
}

/// What blocks is never done where tasks run: the locks would not let it.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

pub(super) fn mirrored(name: &str) -> Repository {
    Repository { domain: Some(Domain::docker_hub()), name: name.parse().unwrap() }
}

pub(super) fn hosted(name: &str) -> Repository {
    Repository { domain: None, name: name.parse().unwrap() }
}

/// Allocated blocks, once per inode, as `du` counts them.
fn du(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).unwrap();
    let below = match meta.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| du(&entry.unwrap().path())).sum(),
        false => 0,
    };
    meta.blocks() * 512 + below
}

fn agrees(objects: &Objects, dir: &TempDir, when: &str) {
    let usage = objects.storage.ledger().usage();
    let (told, found) = (usage.total() - usage.index, du(dir.path()) - du(&dir.path().join("index")));
    assert_eq!(told, found, "{when}: {usage:?}");
}

pub(super) async fn cache(objects: &Objects, place: &Repository, bytes: Vec<u8>) -> Digest {
    let digest = Digest::sha256(&bytes);
    let staged = objects.stage(&digest, Purpose::Mirrored, bytes.len() as u64).await.unwrap();
    staged.sink().write_at(&bytes, 0).unwrap();
    objects.publish(staged, digest, Durability::Unsynced, false).await.unwrap();
    objects.link_layer(place, digest).await;
    digest
}

pub(super) fn content(seed: u8, kib: usize) -> Vec<u8> {
    (0..kib << 10).map(|at| seed ^ u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn the_books_are_what_du_finds() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    agrees(&objects, &dir, "at the start");
    let mut cached = Vec::new();
    for seed in 0..100 {
        cached.push(cache(&objects, &mirrored(&format!("team/image{}", seed % 7)), content(seed, 37)).await);
    }
    agrees(&objects, &dir, "with a cache");
    objects.write(Digest::sha256(b"{}"), Bytes::from_static(b"{}"), Durability::Synced).await.unwrap();
    let links = objects.storage.links(&hosted("mine"));
    links.add_revision(&Digest::sha256(b"{}"), Durability::Synced).unwrap();
    for tag in ["a", "b", "c"] {
        links.set_tag(&tag.parse().unwrap(), &Digest::sha256(b"{}"), Durability::Synced).unwrap();
    }
    let claim = objects.claims.wait_for_digest(&cached[3]).await;
    assert!(objects.host_layer(&hosted("mine"), &cached[3], &claim).unwrap());
    drop(claim);
    let uploads = objects.storage.uploads(&hosted("mine"));
    let session = uploads.begin(UploadId::random(), "2026-01-02T03:04:05Z").unwrap();
    agrees(&objects, &dir, "with a push");
    let Opened::Writable(sink, growth) = session.sink(0).unwrap() else { panic!("nobody else writes to it") };
    growth.grow(objects.storage.reserve(Purpose::Hosted, 8 << 20).unwrap(), 8 << 20).unwrap();
    sink.write_at(&content(1, 100), 0).unwrap();
    agrees(&objects, &dir, "while a session grows");
    drop((sink, growth));
    agrees(&objects, &dir, "when it is written no more");
    let freed = on_a_thread(|| objects.evict((50 * 37) << 10));
    assert!((50 * 37..51 * 40).contains(&(freed >> 10)), "{freed} bytes went");
    links.remove_tag(&"b".parse().unwrap()).unwrap();
    agrees(&objects, &dir, "after an eviction");
    session.remove().unwrap();
    agrees(&objects, &dir, "after the session");
    on_a_thread(|| objects.survey()).unwrap();
    agrees(&objects, &dir, "after a survey");
    let usage = objects.storage.ledger().usage();
    assert_eq!((usage.hosted.objects(), usage.promised), (2, 0));
}

/// A session has one writer until all that it began is over: what ends late cuts off nothing that the next one wrote.
#[tokio::test]
async fn a_session_is_opened_once_at_a_time() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let uploads = objects.storage.uploads(&hosted("mine"));
    let session = uploads.begin(UploadId::random(), "2026-01-02T03:04:05Z").unwrap();
    let Opened::Writable(sink, growth) = session.sink(0).unwrap() else { panic!("nobody else writes to it") };
    let until = |bytes| growth.grow(objects.storage.reserve(Purpose::Hosted, bytes).unwrap(), bytes).unwrap();
    until(1 << 20);
    sink.write_at(&content(1, 100), 0).unwrap();
    assert!(matches!(session.sink(0).unwrap(), Opened::Busy));
    drop(sink);
    // Whoever left while room was made for them.
    assert!(matches!(session.sink(0).unwrap(), Opened::Busy));
    assert_eq!(session.received().unwrap(), Some(100 << 10), "nothing was cut off");
    drop(growth);
    assert!(matches!(session.sink(100 << 10).unwrap(), Opened::Writable(..)));
    agrees(&objects, &dir, "after three who came too early");
}

/// Once the books are closed nothing is stored and nothing goes: a fill that ends then would be in no total.
#[tokio::test]
async fn closed_books_stay_as_they_are() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let cached = cache(&objects, &mirrored("a"), content(1, 100)).await;
    let late = objects.stage(&Digest::sha256(b"late"), Purpose::Mirrored, 10).await.unwrap();
    assert!(objects.close());
    let totals = objects.storage.ledger().totals();
    let published = objects.publish(late, Digest::sha256(b"late"), Durability::Unsynced, false).await;
    assert!(matches!(published, Err(Error::Abandoned)), "{published:?}");
    assert_eq!(on_a_thread(|| objects.evict(1 << 20)), 0);
    assert!(objects.storage.has_blob(&cached).unwrap() && objects.storage.ledger().totals() == totals);
}

#[tokio::test]
async fn the_books_survive_a_stop_and_a_kill() {
    let dir = TempDir::new().unwrap();
    for stop in [true, false, true] {
        let objects = open(&dir, Limits::default(), Retention::default());
        agrees(&objects, &dir, "at the start");
        let seed = if stop { 1 } else { 2 };
        for kib in 1..20 {
            cache(&objects, &mirrored("a"), content(seed, kib)).await;
        }
        agrees(&objects, &dir, "before the end");
        if stop {
            objects.tell_uses();
            objects.index.close(objects.storage.ledger().totals(), true);
        }
    }
}

/// The index is opened beside the first requests: what they change meanwhile is neither lost nor counted twice.
#[tokio::test]
async fn the_books_survive_a_push_before_the_index_is_open() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let cached = cache(&objects, &mirrored("a"), content(1, 100)).await;
    objects.index.close(objects.storage.ledger().totals(), true);
    drop(objects);
    for (push, drop_cached) in [(false, false), (true, false), (false, true)] {
        let objects = begin(&dir, Limits::default(), Retention::default());
        assert!(objects.storage.reserve(Purpose::Mirrored, 10).is_err(), "nothing is cached yet");
        if push {
            objects.write(Digest::sha256(b"{}"), Bytes::from_static(b"{}"), Durability::Synced).await.unwrap();
        }
        let links = objects.storage.links(&hosted("mine"));
        links.add_revision(&Digest::sha256(b"{}"), Durability::Synced).unwrap();
        if drop_cached {
            objects.storage.remove_blob(&cached).unwrap();
            objects.index.leave(&cached);
        }
        on_a_thread(|| objects.resume_index()).unwrap();
        agrees(&objects, &dir, "when the index is open");
        assert!(objects.index.is_complete());
        assert_eq!(objects.index.was_complete(), !push && !drop_cached, "whether the disk had to be looked at");
        assert_eq!(objects.index.holding(&cached).is_some(), !drop_cached);
        objects.index.close(objects.storage.ledger().totals(), true);
    }
}

#[tokio::test]
async fn what_is_pushed_pinned_read_or_leased_stays() {
    let dir = TempDir::new().unwrap();
    let retention = Retention { pinned: vec!["pinned/*".parse().unwrap()], ..Retention::default() };
    let objects = open(&dir, Limits::default(), retention);
    let free = cache(&objects, &mirrored("a"), content(1, 10)).await;
    let pinned = cache(&objects, &mirrored("pinned/a"), content(2, 10)).await;
    let pushed = cache(&objects, &mirrored("a"), content(3, 10)).await;
    let read = cache(&objects, &mirrored("a"), content(4, 10)).await;
    assert!(objects.promote(pushed).await.unwrap());
    let reading = objects.uses.read(&read);
    on_a_thread(|| objects.evict(u64::MAX));
    let there = |digest| objects.storage.has_blob(digest).unwrap();
    assert!(!there(&free) && there(&pinned) && there(&pushed) && there(&read));
    assert_eq!(objects.index.holding(&pushed).unwrap().owner, Owner::Hosted);
    drop(reading);
    objects.index.recall(u64::MAX - 1, false);
    on_a_thread(|| objects.evict(u64::MAX));
    assert!(!there(&read) && there(&pinned));
    let repository = objects.storage.links(&mirrored("a"));
    assert_eq!(repository.layers().collect::<Result<Vec<_>, _>>().unwrap(), [pushed]);

    let leased = Retention { lease: Duration::from_secs(60), ..Retention::default() };
    let other = TempDir::new().unwrap();
    let objects = open(&other, Limits::default(), leased);
    let served = cache(&objects, &mirrored("a"), content(1, 10)).await;
    assert_eq!(on_a_thread(|| objects.evict(u64::MAX)), 0);
    assert!(objects.storage.has_blob(&served).unwrap());
}

#[tokio::test]
async fn room_is_made_for_what_fits_and_for_nothing_else() {
    let dir = TempDir::new().unwrap();
    let quota = Some(Bound::Bytes((20 << 20) + (4 << 20)));
    let objects = open(&dir, Limits { quota, ..Limits::default() }, Retention::default());
    let mut cached = Vec::new();
    for seed in 0..20 {
        cached.push(cache(&objects, &mirrored("a"), content(seed, 300)).await);
    }
    let here = cached.iter().filter(|digest| objects.storage.has_blob(digest).unwrap()).count();
    assert!((5..15).contains(&here), "{here} of 300 KiB in some 4 MiB");
    assert!(objects.room_for(Purpose::Mirrored, 8 << 20).await.is_err(), "larger than a quarter");
    assert!(objects.room_for(Purpose::Hosted, 8 << 20).await.is_err(), "larger than all there is");
    let after = cached.iter().filter(|digest| objects.storage.has_blob(digest).unwrap()).count();
    assert_eq!(here, after, "nothing made way in vain");
    let said = objects.room_for(Purpose::Hosted, 8 << 20).await.unwrap_err().to_string();
    assert!(said.starts_with("the quota is exceeded: ") && said.contains(&format!("{}", 24 << 20)), "{said}");
    let room = objects.room_for(Purpose::Hosted, 3 << 20).await.unwrap();
    assert!(room.promised() >= 3 << 20);
}

/// What cannot fit beside what was just served makes nothing go: it would pass uncached all the same.
#[tokio::test]
async fn nothing_is_evicted_in_vain() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { quota: Some(Bound::Bytes(60 << 20)), object: Bound::Share(100), ..Limits::default() };
    let objects = open(&dir, limits, Retention { lease: Duration::from_secs(60), ..Retention::default() });
    let (mut old, mut leased) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let digest = cache(&objects, &mirrored("old"), content(seed, 300)).await;
        let held = objects.index.holding(&digest).unwrap();
        objects.index.leave(&digest);
        objects.index.enter(&digest, held.allocated, Owner::Mirrored, false, 0);
        old.push(digest);
    }
    for seed in 100..180 {
        leased.push(cache(&objects, &mirrored("new"), content(seed, 300)).await);
    }
    let here = |digests: &[Digest]| digests.iter().filter(|digest| objects.storage.has_blob(digest).unwrap()).count();
    for purpose in [Purpose::Mirrored, Purpose::Hosted] {
        let said = objects.room_for(purpose, 20 << 20).await.unwrap_err().to_string();
        assert!(said.contains("storage.quota") && said.contains("bytes of mirrored content were asked for"), "{said}");
        assert!(said.contains(": enough of them may go at 20"), "{said}");
        assert!(objects.could_fit(purpose, 20 << 20).await.is_err());
    }
    assert_eq!((here(&old), here(&leased)), (20, 80));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(objects.could_fit(Purpose::Mirrored, 13 << 20).await.is_ok());
    assert_eq!((here(&old), here(&leased)), (20, 80), "nothing goes before it comes");
    let _room = objects.room_for(Purpose::Mirrored, 13 << 20).await.unwrap();
    let left = here(&old);
    assert!((1..20).contains(&left) && here(&leased) == 80, "{left} of 20 are left");
}

/// In the first moments after a start it is not known what is stored: a miss waits for that, and is kept.
#[tokio::test]
async fn a_miss_waits_until_the_disk_is_counted() {
    let dir = TempDir::new().unwrap();
    let objects = begin(&dir, Limits::default(), Retention::default());
    let asking = objects.clone();
    let miss = Handle::current().spawn(async move { asking.room_for(Purpose::Mirrored, 10).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!miss.is_finished());
    let said = objects.storage.reserve(Purpose::Mirrored, 10).unwrap_err().to_string();
    assert!(said.starts_with("what is stored is still being counted since the start"), "{said}");
    objects.resume_index().unwrap();
    miss.await.unwrap().unwrap();
}

/// Each bound is called by its name.
#[tokio::test]
async fn a_refusal_names_the_bound() {
    let dir = TempDir::new().unwrap();
    let said = |limits: Limits, purpose, bytes: u64| {
        let objects = open(&dir, limits, Retention::default());
        objects.storage.reserve(purpose, bytes).unwrap_err().to_string()
    };
    let limits = |quota, headroom| Limits { quota, headroom, object: Bound::Share(50) };
    let quota = Some(Bound::Bytes(64 << 20));
    let larger = said(limits(quota, None), Purpose::Mirrored, 33 << 20);
    assert!(
        larger.contains("34603008 bytes are more than one blob may have to be kept (storage.maxobject: "),
        "{larger}"
    );
    let beyond = said(limits(quota, None), Purpose::Hosted, 64 << 20);
    assert!(
        beyond.starts_with("the quota is exceeded: ") && beyond.contains("67108864 allowed (storage.quota)"),
        "{beyond}"
    );
    let full = said(limits(None, Some(Bound::Share(100))), Purpose::Hosted, 1);
    assert!(full.starts_with("no space left on device: ") && full.contains("storage.headroom"), "{full}");
}

/// What a failed fill left is worth keeping, but less than anything else.
#[tokio::test]
async fn what_a_failed_fill_left_makes_way_first() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { quota: Some(Bound::Bytes(40 << 20)), ..Limits::default() };
    let objects = open(&dir, limits, Retention::default());
    let cached = cache(&objects, &mirrored("a"), content(1, 1024)).await;
    for number in 0..2_u8 {
        let staged = objects.stage(&Digest::sha256(&[1]), Purpose::Mirrored, 6 << 20).await.unwrap();
        let digest = Digest::sha256(&[number]);
        objects.parked.put(&digest, staged, Box::new(Ink::new(digest.hasher())), 6 << 20);
    }
    agrees(&objects, &dir, "with both halves");
    let room = objects.room_for(Purpose::Hosted, 10 << 20).await.unwrap();
    assert_eq!(objects.parked.bytes(), 6 << 20, "the older one went");
    assert!(objects.parked.take(&Digest::sha256(&[1])).is_some() && objects.storage.has_blob(&cached).unwrap());
    drop(room);
    agrees(&objects, &dir, "afterwards");
}

/// The quota holds for pushes, too, while it is not known yet what is stored: they wait.
#[tokio::test]
async fn a_push_waits_until_the_disk_is_counted() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { quota: Some(Bound::Bytes(40 << 20)), ..Limits::default() };
    let objects = open(&dir, limits, Retention::default());
    let pushed = Bytes::from(content(1, 10 << 10));
    objects.write(Digest::sha256(&pushed), pushed, Durability::Synced).await.unwrap();
    drop(objects);
    // As after a kill: there are no totals.
    let objects = begin(&dir, limits, Retention::default());
    assert!(objects.could_fit(Purpose::Hosted, 8 << 20).await.is_ok(), "nobody can tell yet");
    let asking = objects.clone();
    let small = Handle::current().spawn(async move { asking.room_for(Purpose::Hosted, 2 << 20).await });
    let asking = objects.clone();
    let large = Handle::current().spawn(async move { asking.room_for(Purpose::Hosted, 16 << 20).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!small.is_finished() && !large.is_finished());
    on_a_thread(|| objects.resume_index()).unwrap();
    assert!(small.await.unwrap().is_ok());
    let said = large.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("the quota is exceeded") && !said.contains("counted"), "{said}");
}

/// Between its bytes and its link a manifest may make way: no link is left that leads nowhere.
#[tokio::test]
async fn a_manifest_that_made_way_is_not_linked() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let (manifests, place) = (Manifests::new(objects.clone()), mirrored("library/gone"));
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"layers":[]}"#);
    let manifest = Arc::new(StoredManifest::new(Digest::sha256(&bytes), bytes.clone()).unwrap());
    let tag: Tag = "latest".parse().unwrap();
    let word = Word { head: Some(manifest.head()), asked: SystemTime::now() };
    assert!(objects.heard.note(&(place.clone(), tag.clone()), word));
    manifests.link(&place, &manifest).await.unwrap();
    let links = objects.storage.links(&place);
    assert!(!links.has_revision(&manifest.digest).unwrap() && links.tag(&tag).unwrap().is_none());
    objects.write(manifest.digest, bytes, Durability::Unsynced).await.unwrap();
    manifests.link(&place, &manifest).await.unwrap();
    assert!(links.has_revision(&manifest.digest).unwrap() && links.tag(&tag).unwrap() == Some(manifest.digest));
}
