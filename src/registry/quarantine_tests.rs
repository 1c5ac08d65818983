//! Tests of a fill and a quarantine of the same blob at the same time.

use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    EvictionRules,
    disk_tests::{cache, content, disk, hosted, mirrored, on_a_thread, open},
};
use crate::{
    index::BlobKind,
    lanes::Blocking,
    storage::{Durability, Purpose, SpaceLimits},
};

/// A fill of a blob that is being quarantined replaces it as a hosted blob, in any interleaving.
#[tokio::test]
async fn a_fill_waits_for_a_quarantine_of_the_same_blob() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let bytes = content(1, 10);
    let digest = cache(&store, &mirrored("a"), bytes.clone()).await;
    assert!(store.promote(digest).await.unwrap());
    let lock = store.protection.locks.wait_for_digest(&digest).await;
    store.with(Blocking::in_test()).host_layer(&hosted("mine"), &digest, &lock).unwrap();
    let staged = store.stage(&digest, Purpose::Mirrored, bytes.len() as u64).await.unwrap();
    staged.writer().write_at(Blocking::in_test(), &bytes, 0).unwrap();
    // The same steps as for a damaged blob, under the lock.
    store.volume.index.removed(&digest);
    let filling = store.clone();
    let fill = Handle::current().spawn(async move {
        filling.publish(staged, digest, Durability::Unsynced, BlobKind::Blob).await.map_err(drop)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    on_a_thread(|io| store.with(io).disk.quarantine(&digest)).unwrap();
    drop(lock);
    fill.await.unwrap().unwrap();
    assert!(disk(&store).has_blob(&digest).unwrap() && store.volume.index.origins(&digest).hosted);
    assert!(!disk(&store).is_unsynced(&digest).unwrap());
    assert!(!disk(&store).is_quarantined(&digest).unwrap());
    assert_eq!(store.read(digest).await.unwrap().unwrap(), bytes);
}
