//! A fill and the quarantine of what was pushed, at one time.

use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    Retention,
    disk_tests::{cache, content, hosted, mirrored, on_a_thread, open},
};
use crate::storage::{Durability, Limits, Purpose};

/// A fill of a blob that is being set aside takes its place as this registry's own, however the two fall together.
#[tokio::test]
async fn a_fill_waits_for_a_quarantine_of_the_same_blob() {
    let dir = TempDir::new().unwrap();
    let objects = open(&dir, Limits::default(), Retention::default());
    let bytes = content(1, 10);
    let digest = cache(&objects, &mirrored("a"), bytes.clone()).await;
    assert!(objects.promote(digest).await.unwrap());
    let claim = objects.claims.wait_for_digest(&digest).await;
    objects.host_layer(&hosted("mine"), &digest, &claim).unwrap();
    let staged = objects.stage(&digest, Purpose::Mirrored, bytes.len() as u64).await.unwrap();
    staged.sink().write_at(&bytes, 0).unwrap();
    // As damage is dealt with, under the claim.
    objects.index.remove_class(&digest);
    objects.index.leave(&digest);
    let filling = objects.clone();
    let fill = Handle::current()
        .spawn(async move { filling.publish(staged, digest, Durability::Unsynced, false).await.map_err(drop) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    on_a_thread(|| objects.storage.quarantine(&digest)).unwrap();
    drop(claim);
    fill.await.unwrap().unwrap();
    assert!(objects.storage.has_blob(&digest).unwrap() && objects.index.class(&digest).hosted);
    assert!(!objects.storage.is_unsynced(&digest).unwrap());
    assert!(!objects.storage.is_quarantined(&digest).unwrap());
    assert_eq!(objects.read(digest).await.unwrap().unwrap(), bytes);
}
