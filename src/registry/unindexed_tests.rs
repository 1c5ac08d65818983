//! What goes, and what stays, when room is made without an index.

use std::{fs, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Error, Retention,
    disk_tests::{begin, cache, content, hosted, mirrored, on_a_thread, open},
    manifests::{Manifests, StoredManifest},
    objects::Objects,
};
use crate::{
    index::Owner,
    lanes::Lane,
    oci::Digest,
    storage::{Durability, Limits},
};

/// A second more than the lease, so that what was written a moment ago may go.
const LEASE: Duration = Duration::from_secs(3600);

/// Makes it look as if a blob came long ago.
fn age(dir: &TempDir, digest: &Digest, seconds: u64) {
    let hex = digest.hex();
    let path = dir.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let old = std::time::SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

fn there(objects: &Objects, digest: &Digest) -> bool {
    objects.storage.has_blob(digest).unwrap()
}

fn evict(objects: &Objects, bytes: u64) -> Result<u64, Error> {
    on_a_thread(|| objects.evict_unindexed(bytes))
}

async fn keep_manifest(objects: &Objects, name: &str, child: &Digest, salt: u8) -> Digest {
    let layer = format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{child}","size":1}}"#);
    let bytes = Bytes::from(format!(r#"{{"schemaVersion":2,"annotations":{{"salt":"{salt}"}},"layers":[{layer}]}}"#));
    let manifest = std::sync::Arc::new(StoredManifest::new(Digest::sha256(&bytes), bytes).unwrap());
    Manifests::new(objects.clone()).keep(&mirrored(name), &manifest).await;
    let links = objects.storage.links(&mirrored(name));
    links.set_tag(&"latest".parse().unwrap(), &manifest.digest, Durability::Unsynced).unwrap();
    manifest.digest
}

#[tokio::test]
async fn the_oldest_goes_and_what_is_kept_stays() {
    let dir = TempDir::new().unwrap();
    let retention = Retention { pinned: vec!["pinned/*".parse().unwrap()], lease: LEASE, ..Retention::default() };
    let objects = open(&dir, Limits::default(), retention);
    let [old, older, fresh, pinned, pushed, read, named, stale] = [
        cache(&objects, &mirrored("a"), content(1, 100)).await,
        cache(&objects, &mirrored("a"), content(2, 100)).await,
        cache(&objects, &mirrored("a"), content(3, 100)).await,
        cache(&objects, &mirrored("pinned/a"), content(4, 100)).await,
        cache(&objects, &mirrored("a"), content(5, 100)).await,
        cache(&objects, &mirrored("a"), content(6, 100)).await,
        cache(&objects, &mirrored("a"), content(7, 100)).await,
        cache(&objects, &mirrored("b"), content(8, 100)).await,
    ];
    let (leased, expired) =
        (keep_manifest(&objects, "a", &named, 1).await, keep_manifest(&objects, "b", &stale, 2).await);
    assert!(objects.promote(pushed).await.unwrap());
    objects.storage.links(&hosted("mine")).add_layer(&pushed, Durability::Synced).unwrap();
    for (digest, hours) in [&old, &pinned, &pushed, &read, &named, &stale, &expired].into_iter().zip(2..) {
        age(&dir, digest, 3600 * hours);
    }
    age(&dir, &older, 3600 * 24);
    let reading = objects.uses.read(&read);
    assert_eq!(evict(&objects, 1).unwrap() >> 10, 100, "one is enough");
    assert!(!there(&objects, &older) && there(&objects, &old), "the oldest goes first");
    evict(&objects, u64::MAX).unwrap();
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
        assert_eq!(there(&objects, digest), stays, "{digest}");
    }
    let links = objects.storage.links(&mirrored("b"));
    assert!(!links.has(&stale).unwrap() && !links.has(&expired).unwrap(), "links go first");
    assert_eq!(links.tag(&"latest".parse().unwrap()).unwrap(), None);
    drop(reading);
    objects.uses.note(&read);
    objects.tell_uses();
    assert_eq!(evict(&objects, u64::MAX).unwrap(), 0, "it was asked for a moment ago, and the index may be gone");
}

/// A repository that cannot be looked at may link anything.
#[tokio::test]
async fn nothing_goes_when_a_repository_cannot_be_looked_at() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let cached = cache(&objects, &mirrored("a"), content(1, 100)).await;
    age(&dir, &cached, 3600);
    let repositories = dir.path().join("docker/registry/v2/repositories");
    fs::create_dir_all(&repositories).unwrap();
    // What leads nowhere hides what should lie behind it, also from root.
    std::os::unix::fs::symlink("nowhere", repositories.join("team")).unwrap();
    assert!(matches!(evict(&objects, u64::MAX), Err(Error::Storage(_))));
    assert!(there(&objects, &cached));
    fs::remove_file(repositories.join("team")).unwrap();
    let collecting = objects.activity.collect(Duration::ZERO);
    assert!(matches!(evict(&objects, u64::MAX), Err(Error::UnderWay)));
    drop(collecting);
    assert!(evict(&objects, u64::MAX).unwrap() > 0 && !there(&objects, &cached));
}

/// An index that is away takes no note of a promotion, and knows a mirrored blob when it is there again.
#[tokio::test]
async fn what_was_promoted_while_the_index_was_away_stays() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let pushed = cache(&objects, &mirrored("a"), content(1, 100)).await;
    drop(objects);
    let objects = begin(&dir, Limits::default(), Retention::default());
    let present = objects.activity.enter(&hosted("mine"), Some(&pushed)).await;
    assert!(objects.promote(pushed).await.unwrap());
    on_a_thread(|| objects.resume_index()).unwrap();
    assert_eq!(objects.index.holding(&pushed).unwrap().owner, Owner::Mirrored, "the promotion was not noted");
    assert_eq!(on_a_thread(|| objects.evict(u64::MAX)), 0, "somebody is about to link it");
    let claim = objects.claims.wait_for_digest(&pushed).await;
    assert!(objects.host_layer(&hosted("mine"), &pushed, &claim).unwrap());
    drop((claim, present));
    objects.index.recall(u64::MAX - 1, false);
    assert_eq!(on_a_thread(|| objects.evict(u64::MAX)), 0, "it is linked");
    assert!(there(&objects, &pushed));
}

/// Between a promotion and its link bytes may turn out to be damaged: no link is left that leads nowhere.
#[tokio::test]
async fn bytes_that_went_are_not_linked() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let gone = cache(&objects, &mirrored("a"), content(1, 100)).await;
    assert!(objects.promote(gone).await.unwrap());
    objects.storage.remove_blob(&gone).unwrap();
    let claim = objects.claims.wait_for_digest(&gone).await;
    assert!(!objects.host_layer(&hosted("mine"), &gone, &claim).unwrap());
    assert!(!objects.storage.links(&hosted("mine")).has_layer(&gone).unwrap());
}

/// Whose damaged bytes are is found out by a walk of all repositories: on no lane that a client's next byte waits for, and
/// without the digest's claim.
#[tokio::test]
async fn a_walk_for_damaged_bytes_is_in_nobody_s_way() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let damaged = cache(&objects, &mirrored("a"), content(1, 100)).await;
    let hex = damaged.hex();
    let data = dir.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    fs::File::options().write(true).open(data).unwrap().set_len(10).unwrap();
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(parking_lot::Mutex::new(blocked));
    for _ in 0..64 {
        let blocked = std::sync::Arc::clone(&blocked);
        drop(objects.lanes.start(Lane::List, move || blocked.lock().recv()));
    }
    let mut rechecked = Box::pin(objects.recheck(damaged));
    let moment = Duration::from_millis(300);
    assert!(tokio::time::timeout(moment, &mut rechecked).await.is_err(), "it waits for the lane of long walks");
    assert!(objects.claims.try_digest(&damaged).is_some(), "nobody waits for it");
    objects.lanes.run(Lane::Compute, || ()).await.unwrap();
    drop(go_on);
    assert!(rechecked.await.unwrap().is_none() && !there(&objects, &damaged));
}

/// A walk may have been past a repository when it is pushed to.
#[tokio::test]
async fn what_was_pushed_during_a_walk_counts() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let begun = std::time::Instant::now();
    assert!(objects.activity.entered_since(begun).is_empty());
    drop(objects.activity.enter(&hosted("mine"), None).await);
    assert_eq!(objects.activity.entered_since(begun), [hosted("mine").name]);
    assert!(objects.activity.entered_since(std::time::Instant::now()).is_empty());
}
