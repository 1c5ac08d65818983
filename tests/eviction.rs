//! Eviction: the content that is evicted, the content that is not, and the effects on clients.

use std::{thread, time::Duration};

use crate::{
    quota::within,
    support::{
        disk::{Disk, MIB},
        http::BodyEnd,
        image_set::ImageSet,
        images::{Blob, Format, Image},
        upstream::{self, Upstream},
        volume_check::VolumeCheck,
        wait_until,
    },
};

const MEBI: usize = 1 << 20;

/// The number of GETs of this digest at the upstream.
fn fetches(upstream: &Upstream, digest: &str) -> usize {
    let of = |asked: &&upstream::Recorded| asked.request.method == "GET" && asked.request.path.contains(digest);
    upstream.requests().iter().filter(of).count()
}

/// Pushed and pinned content is never evicted, manifests and configurations last. An image whose layers were evicted
/// comes back with the next pull, which fetches its layers only.
#[test]
fn eviction_takes_layers_and_leaves_the_rest() {
    let (disk, upstream, stock) = (Disk::ext4(256), Upstream::plain(), ImageSet::of(240));
    let pinned = Image::of_size(Format::Oci, 730, 2 * MEBI);
    let holed = Image::of_size(Format::Docker, 731, 3 * MEBI);
    let pushed = Image::of_size(Format::Oci, 732, 5 * MEBI);
    stock.at(&upstream);
    upstream.add("base/pinned", "latest", &pinned);
    upstream.add("library/holed", "latest", &holed);
    let setup = within(&upstream, &disk, "64MiB").variable("REGISTRY_STORAGE_PINNED", "[\"base/*\"]");
    let server = setup.start();
    let checker = VolumeCheck::new(server.data());
    server.target().image("team/app", "1", &pushed);
    server.pull("base/pinned", "latest", &pinned);
    server.pull("library/holed", "latest", &holed);
    stock.pull(&server);

    assert!(!checker.data(&holed.layer().digest).exists(), "a layer that nobody asked for again stays");
    server.pull("team/app", "1", &pushed);
    server.pull("base/pinned", "latest", &pinned);
    server.pull("library/holed", "latest", &holed);
    assert_eq!(fetches(&upstream, &pinned.layer().digest), 1, "what is pinned is fetched once");
    assert_eq!(fetches(&upstream, &holed.layer().digest), 2, "what went is fetched again");
    assert_eq!(fetches(&upstream, &holed.config), 1, "manifests and configurations go last");
    let manifests = upstream.requests();
    let counted = |asked: &&upstream::Recorded| {
        asked.request.method == "GET" && asked.request.path.starts_with("/v2/library/holed/manifests/")
    };
    assert_eq!(manifests.iter().filter(counted).count(), 1, "what the Hub counts");
    VolumeCheck::new(server.data()).is_whole();
}

/// Part of an image is evicted and the upstream is down: the pull fails at the manifest, so that clients try another
/// registry. A complete image is served.
#[test]
fn an_image_with_a_hole_fails_at_its_manifest() {
    let (disk, upstream, stock) = (Disk::ext4(256), Upstream::plain(), ImageSet::of(160));
    let (holed, whole) = (Image::of_size(Format::Oci, 740, 3 * MEBI), Image::of_size(Format::Oci, 741, MEBI));
    stock.at(&upstream);
    upstream.add("library/holed", "latest", &holed);
    upstream.add("library/whole", "latest", &whole);
    let server = within(&upstream, &disk, "64MiB").freshness("1s").start();
    server.pull("library/holed", "latest", &holed);
    stock.pull(&server);
    server.pull("library/whole", "latest", &whole);
    let checker = VolumeCheck::new(server.data());
    assert!(!checker.data(&holed.layer().digest).exists() && checker.data(holed.digest()).exists());
    upstream.stop();
    thread::sleep(Duration::from_millis(1100));
    for reference in ["latest", holed.digest()] {
        let got = server.manifest("library/holed", reference).send();
        assert!([502, 504].contains(&got.status), "{reference}: {}", got.status);
    }
    server.pull("library/whole", "latest", &whole);
    upstream.resume();
    wait_until("upstream to be asked again", Duration::from_secs(60), || {
        server.manifest("library/holed", "latest").send().status == 200
    });
    server.pull("library/holed", "latest", &holed);
}

/// A reader gets the whole blob even if it is the next to be evicted: slow readers lose nothing.
#[test]
fn what_is_being_read_stays_whole() {
    let (disk, upstream, stock) = (Disk::ext4(256), Upstream::plain(), ImageSet::of(120));
    let slow = Blob::window(11, 8 * MEBI);
    stock.at(&upstream);
    upstream.add_blob("library/slow", &slow);
    let server = within(&upstream, &disk, "64MiB").start();
    let mut reading = server.blob("library/slow", &slow.digest).window(64 << 10).send();
    let first = reading.exactly(MEBI);
    let watch = disk.watch();
    stock.pull(&server);
    let rest = reading.body();
    assert_eq!(rest.end, BodyEnd::Complete);
    assert!([first, rest.bytes].concat() == slow.bytes, "what a slow reader gets");
    assert!(watch.most() <= 64 * MIB, "{} bytes", watch.most());
}
