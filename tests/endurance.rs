//! A server that has run for long is as it was at its start: nothing grows that has no reason to.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    image_set::figures_equal_du,
    images::{Blob, Format, Image},
    is_soak,
    ports::Port,
    scrape::Scrape,
    server::Setup,
    upstream::{Fault, Kind, Rule, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/app";

/// The connections of a burst are closed after the idle time, with no further request.
#[test]
fn connections_of_a_burst_are_closed() {
    let upstream = Upstream::plain();
    let blobs: Vec<Blob> = (0..24).map(|number| Blob::noise(18_000 + number, 20_000)).collect();
    blobs.iter().for_each(|blob| upstream.add_blob(REPOSITORY, blob));
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(500))));
    let server = Setup::mirroring(&upstream.url()).start();
    thread::scope(|scope| {
        for blob in &blobs {
            scope.spawn(|| assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest));
        }
    });
    let open = upstream.connections();
    assert!(open >= 8, "a burst of {open} connections");
    wait_until("idle connections to be closed", Duration::from_secs(60), || upstream.connections() == 0);
}

/// No folder stays of a repository whose content was evicted, and no organisation's that has none left.
#[test]
fn evicted_repositories_leave_no_folders() {
    let upstream = Upstream::plain();
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_PROXY_TTL", "2s").lease("1s").start();
    for number in 0..20 {
        let image = Image::of_size(Format::Oci, 180_000 + number, 60_000);
        let repository = format!("org{}/deep/app{number}", number % 5);
        upstream.add(&repository, "1", &image);
        server.pull(&repository, "1", &image);
    }
    let repositories = server.data().join("mirrors/docker.io/repositories");
    let left = || std::fs::read_dir(&repositories).map_or(0, Iterator::count);
    wait_until("the last folder to go", Duration::from_secs(90), || left() == 0);
    let image = Image::of_size(Format::Oci, 180_000, 60_000);
    server.pull("org0/deep/app0", "1", &image);
    assert_eq!(left(), 1, "it is there again");
}

/// Many small images leave a small cache as full of blobs as a few did: it does not fill up with folders and links.
#[test]
fn many_small_images_do_not_crowd_out_the_blobs() {
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let quota = if is_soak() { "120MB" } else { "60MB" };
    let server = Setup::both(&upstream.url()).quota(quota).lease("0s").watched(&debug).start();
    let pull = |numbers: std::ops::Range<u64>| {
        let next = AtomicU64::new(numbers.start);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            return;
                        }
                        let (image, repository) =
                            (Image::of_size(Format::Oci, 200_000 + number, 60_000), format!("library/small{number}"));
                        upstream.add(&repository, "1", &image);
                        server.pull(&repository, "1", &image);
                    }
                });
            }
        });
        Scrape::of(&debug.url()).sum("entrepot_storage_bytes", &["class=\"mirrored\""])
    };
    let (few, many) = if is_soak() { (1000, 20_000) } else { (400, 1200) };
    let (then, now) = (pull(0..few), pull(few..many));
    assert!(now.abs_diff(then) <= then / 10, "{now} bytes of blobs, {then} after the first {few} images");
    figures_equal_du(&server, "after many images");
}

/// A blob that cannot fit beside content under a lease evicts nothing, and one that can evicts no more than it needs,
/// rounded up to one object.
#[test]
fn no_blob_evicts_in_vain() {
    const EACH: usize = 1_000_000;
    let (upstream, debug) = (Upstream::plain(), Port::reserve());
    let server = Setup::mirroring(&upstream.url()).quota("100MB").lease("8s").watched(&debug).start();
    let evicted = || {
        let scrape = Scrape::of(&debug.url());
        ["entrepot_evicted_objects_total", "entrepot_evicted_bytes_total"].map(|name| scrape.sum(name, &[]))
    };
    let pull = |seed: u64, length: usize| {
        let blob = Blob::noise(seed, length);
        upstream.add_blob(REPOSITORY, &blob);
        assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest);
    };
    (0..25).for_each(|number| pull(19_000 + number, EACH));
    thread::sleep(Duration::from_millis(8500));
    (0..25).for_each(|number| pull(19_100 + number, EACH));
    let before = evicted();
    // More than all that is under no lease, and less than all that is mirrored.
    pull(19_200, 60 * EACH);
    assert_eq!(evicted(), before, "in vain");
    let mut number = 19_300;
    while evicted() == before && number < 19_320 {
        pull(number, 5 * EACH);
        number += 1;
    }
    let [objects, bytes] = evicted();
    assert!(objects > before[0], "twenty blobs of 5 MB fit into 100 MB");
    let line = server.log().lines().find(|line| line.contains(" evicted ")).map(str::to_owned).unwrap();
    for part in ["repository=docker.io/library/app", "bytes=", "last_used=20", "reason=\"room\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(bytes - before[1] <= 7 * EACH as u64, "{} bytes went for 5 MB", bytes - before[1]);
}
