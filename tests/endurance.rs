//! A server that has run for long is as it was at its start: nothing grows that has no reason to.

use std::{thread, time::Duration};

use crate::support::{
    images::Blob,
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
    assert!(bytes - before[1] <= 7 * EACH as u64, "{} bytes went for 5 MB", bytes - before[1]);
}
