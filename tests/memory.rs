//! The memory that content costs is bounded, and is what the documentation names.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::support::{
    images::{Blob, Format, Image},
    is_soak,
    server::Setup,
    upstream::Upstream,
};

/// The clients' layers; each manifest has as many.
const LAYERS: u64 = 12;
/// The formula of docs/operating.md: what a server takes beside `storage.memory` and that, and what the index takes for
/// each manifest with its layers.
const BESIDE: u64 = 32 << 20;
const A_MANIFEST: u64 = 3 << 10;

/// One client after the other asks for manifests that no one asked for before.
#[test]
fn distinct_manifests_stay_within_the_documented_memory() {
    let upstream = Upstream::plain();
    let server = Setup::mirroring(&upstream.url()).start();
    let (count, next) = (if is_soak() { 26_000 } else { 3_000 }, AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let layer = |layer| Blob::new(format!("layer {layer} of manifest {number}"));
                    let image = Image::of_layers(Format::Oci, &(0..LAYERS).map(layer).collect::<Vec<_>>());
                    upstream.add("library/many", &format!("t{number}"), &image);
                    assert_eq!(server.manifest("library/many", image.digest()).send().status, 200);
                }
            });
        }
    });
    let bound = 64_000_000 + BESIDE + count * A_MANIFEST;
    let taken = server.anonymous_memory();
    assert!(taken <= bound, "{} MiB after {count} manifests", taken >> 20);
}
