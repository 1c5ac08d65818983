//! Tests of the locks of blobs that are pulled.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::{
    registry::{
        EvictionRules,
        disk_tests::{mirrored, open},
    },
    storage::SpaceLimits,
};

/// More than the lane has threads.
const REQUESTS: usize = 300;

#[tokio::test]
async fn no_lane_of_requests_waits_for_the_lock_of_a_digest() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, SpaceLimits::default(), EvictionRules::default());
    let digest = Digest::sha256(b"busy");
    let lock = store.protection.locks.wait_for_digest(&digest).await;
    (0..REQUESTS).for_each(|_| index_link(&store, &mirrored("a"), digest));
    let other = store.execution.lanes().run(Lane::Write, |_| ());
    let done = tokio::time::timeout(Duration::from_secs(5), other).await;
    drop(lock);
    done.expect("other work waits for the lock").unwrap();
}
