//! One fetch per digest, for any behaviour of clients and upstream.

mod broken_upstream;

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    http::{self, BodyEnd, Summary},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::{Cdn, Fault, Gate, Kind, Recorded, Rule, Settings, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/fill";
const MB: usize = 1_000_000;

fn mirrored(blob: &Blob) -> (Upstream, Server) {
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, blob);
    let server = Server::mirroring(&upstream);
    (upstream, server)
}

fn fetch(server: &Server, blob: &Blob) -> Summary {
    let response = server.blob(REPOSITORY, &blob.digest).send();
    assert_eq!(response.status, 200);
    assert_eq!(response.length(), Some(blob.len() as u64));
    response.summary()
}

fn fetches_right(server: &Server, blob: &Blob) {
    let got = fetch(server, blob);
    assert_eq!((got.end, got.length, got.digest.as_str()), (BodyEnd::Complete, blob.len() as u64, &*blob.digest));
}

/// Lets the server learn that its upstream serves no ranges. On a busy machine it would try to split the next download,
/// and fetch a little twice.
fn learns_that_ranges_are_ignored(server: &Server, upstream: &Upstream) {
    let slow = Blob::noise(201, 24 * MB);
    upstream.add_blob(REPOSITORY, &slow);
    upstream.options(|options| options.ignores_ranges = true);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(8 * MB as u64)));
    fetches_right(server, &slow);
    assert!(upstream.count("GET", Kind::Blob) > 1, "no split was tried");
    upstream.heal();
}

/// 16 clients, cold, one blob of 200 MB, 4 leaving early: the upstream serves exactly its bytes.
#[test]
fn sixteen_cold_clients_cost_one_fetch() {
    let blob = Blob::noise(200, 200 * MB);
    let (upstream, server) = mirrored(&blob);
    learns_that_ranges_are_ignored(&server, &upstream);
    let (sent, asked) = (upstream.sent(Kind::Blob), upstream.count("GET", Kind::Blob));
    thread::scope(|scope| {
        for number in 0..16 {
            let (server, blob) = (&server, &blob);
            scope.spawn(move || match number % 4 {
                3 => drop(server.blob(REPOSITORY, &blob.digest).send().exactly((number + 1) * MB)),
                _ => fetches_right(server, blob),
            });
        }
    });
    assert_eq!(upstream.sent(Kind::Blob) - sent, blob.len() as u64, "1.00 times the blob's bytes");
    assert_eq!(upstream.count("GET", Kind::Blob), asked + 1);
    fetches_right(&server, &blob);
    assert_eq!(upstream.count("GET", Kind::Blob), asked + 1, "the next one costs nothing");
}

/// The head is sent as soon as the upstream's head is in, before the first byte of the body.
#[test]
fn the_head_does_not_wait_for_the_body() {
    let (blob, gate) = (Blob::noise(5, MB), Gate::new());
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(0, gate.clone())));
    let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(10)).send();
    assert_eq!((response.status, response.length()), (200, Some(MB as u64)));
    gate.open();
    assert_eq!(response.summary().digest, blob.digest);
}

/// Ranges of a blob being filled are served as soon as their bytes are there, from the same fetch.
#[test]
fn ranges_of_a_blob_in_flight_are_served() {
    let (blob, gate) = (Blob::noise(6, 8 * MB), Gate::new());
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(4 * MB as u64, gate.clone())).times(1));
    let mut first = server.blob(REPOSITORY, &blob.digest).send();
    first.exactly(2 * MB);
    let interior = server.blob(REPOSITORY, &blob.digest).header("Range", "bytes=1000000-1999999").send();
    assert_eq!((interior.status, interior.header("content-range")), (206, Some("bytes 1000000-1999999/8000000")));
    assert_eq!(interior.body().bytes, blob.bytes[MB..2 * MB]);
    let mut open = server.blob(REPOSITORY, &blob.digest).header("Range", "bytes=3000000-").send();
    assert_eq!(open.status, 206);
    assert_eq!(open.exactly(MB / 2), blob.bytes[3 * MB..3 * MB + MB / 2], "what is there comes at once");
    gate.open();
    assert_eq!(open.exactly(4 * MB + MB / 2), blob.bytes[3 * MB + MB / 2..]);
    assert_eq!(first.exactly(6 * MB), blob.bytes[2 * MB..]);
    assert_eq!(upstream.sent(Kind::Blob), blob.len() as u64);
}

/// Eight open-ended ranges of a cold blob, each closed after its chunk, as containerd 2.1 sends them.
#[test]
fn parallel_ranges_of_a_cold_blob_cost_one_fetch() {
    let blob = Blob::noise(61, 40 * MB);
    let (upstream, server) = mirrored(&blob);
    thread::scope(|scope| {
        for part in 0..8 {
            let (server, blob) = (&server, &blob);
            scope.spawn(move || {
                let (from, length) = (part * 5 * MB, 5 * MB);
                let range = format!("bytes={from}-");
                let mut response = server.blob(REPOSITORY, &blob.digest).header("Range", &range).send();
                assert_eq!(response.status, 206);
                assert!(response.exactly(length) == blob.bytes[from..from + length], "part {part}");
            });
        }
    });
    let sent = upstream.sent(Kind::Blob);
    assert!(sent <= 3 * blob.len() as u64, "{sent} bytes for {}", blob.len());
    fetches_right(&server, &blob);
    let asked = upstream.count("GET", Kind::Blob);
    fetches_right(&server, &blob);
    assert_eq!(upstream.count("GET", Kind::Blob), asked);
}

/// A range far ahead of the fill does not wait for it.
#[test]
fn a_range_far_ahead_is_fetched_through() {
    let (blob, gate) = (Blob::noise(62, 100 * MB), Gate::new());
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(MB as u64, gate.clone())).times(1));
    let mut first = server.blob(REPOSITORY, &blob.digest).send();
    first.exactly(MB / 2);
    let ahead = server.blob(REPOSITORY, &blob.digest).header("Range", "bytes=98000000-98000999");
    let ahead = ahead.patience(Duration::from_secs(10)).send();
    assert_eq!(ahead.status, 206);
    assert_eq!(ahead.body().bytes, blob.bytes[98 * MB..98 * MB + 1000]);
    gate.open();
    let rest = first.summary();
    assert_eq!((rest.end, rest.length), (BodyEnd::Complete, (blob.len() - MB / 2) as u64));
}

/// A slow client does not affect the others, and still gets its whole body.
#[test]
fn a_slow_client_delays_no_other() {
    let blob = Blob::noise(7, 30 * MB);
    let (upstream, server) = mirrored(&blob);
    let mut slow = server.blob(REPOSITORY, &blob.digest).window(16 << 10).send();
    slow.exactly(1000);
    let start = Instant::now();
    fetches_right(&server, &blob);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(slow.exactly(blob.len() - 1000), blob.bytes[1000..]);
    assert_eq!(upstream.sent(Kind::Blob), blob.len() as u64);
}

/// A fill whose only client left goes on to its end.
#[test]
fn a_fill_outlives_its_client() {
    // Too little to be split.
    let blob = Blob::noise(8, 6 * MB);
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(6 * MB as u64)));
    server.blob(REPOSITORY, &blob.digest).send().exactly(MB);
    wait_until("the fill", Duration::from_secs(20), || upstream.sent(Kind::Blob) == blob.len() as u64);
    fetches_right(&server, &blob);
    assert_eq!(upstream.count("GET", Kind::Blob), 1);
}

/// A partial blob is kept until the upstream returns, even if it is requested meanwhile.
#[test]
fn a_partial_blob_survives_other_requests() {
    let blob = Blob::noise(63, 8 * MB);
    let (upstream, server) = mirrored(&blob);
    let gate = Gate::new();
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(4 * MB as u64, gate.clone())));
    let mut first = server.blob(REPOSITORY, &blob.digest).send();
    first.exactly(3 * MB);
    upstream.stop();
    gate.open();
    assert_eq!(first.summary().end, BodyEnd::Cut);
    for _ in 0..2 {
        let status = server.blob(REPOSITORY, &blob.digest).send().status;
        assert!([502, 504].contains(&status), "{status}");
    }
    upstream.heal();
    upstream.resume();
    // The fill that failed is gone a moment after its response, and until then who comes gets its failure.
    thread::sleep(Duration::from_millis(200));
    fetches_right(&server, &blob);
    let resumed = |recorded: &Recorded| recorded.request.header("range").is_some_and(|range| range != "bytes=0-");
    assert!(upstream.requests().iter().any(resumed), "it was fetched from its start");
}

/// HEAD of an uncached blob: the size, without a byte of the blob.
#[test]
fn a_head_costs_no_bytes() {
    let (image, cdn) = (Image::of_size(Format::Oci, 10, MB), Cdn::links_living(Duration::from_secs(60)));
    for upstream in [Upstream::plain(), Settings::default().cdn(cdn).start()] {
        upstream.add(REPOSITORY, "latest", &image);
        let server = Server::mirroring(&upstream);
        let url = server.v2(&format!("{REPOSITORY}/blobs/{}", image.layer().digest));
        assert_eq!(http::head(&url).send().status, 404, "without ns only what is here");
        let response = http::head(&format!("{url}?ns=docker.io")).send();
        assert_eq!((response.status, response.length()), (200, Some(image.layer().len() as u64)));
        let sent = upstream.sent(Kind::Blob) + upstream.sent(Kind::Cdn);
        assert!(sent <= 1, "{sent} bytes of the blob for its size");
    }
}

/// With the manifest cached, the size is known without a request.
#[test]
fn a_head_after_the_manifest_asks_nothing() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 11, MB));
    upstream.add(REPOSITORY, "latest", &image);
    let server = Server::mirroring(&upstream);
    server.manifest(REPOSITORY, "latest").send().summary();
    let url = server.v2(&format!("{REPOSITORY}/blobs/{}?ns=docker.io", image.layer().digest));
    let response = http::head(&url).send();
    assert_eq!((response.status, response.length()), (200, Some(image.layer().len() as u64)));
    assert_eq!(upstream.count("HEAD", Kind::Blob) + upstream.count("GET", Kind::Blob), 0);
}

/// An unknown blob is 404, for every client and without a trace on the disk.
#[test]
fn an_unknown_blob_is_unknown() {
    let blob = Blob::noise(12, 1000);
    let (_upstream, server) = mirrored(&Blob::noise(13, 1000));
    let response = server.blob(REPOSITORY, &blob.digest).send();
    assert_eq!((response.status, response.error_code().as_str()), (404, "BLOB_UNKNOWN"));
}

/// If the disk cannot take a blob, it is passed through uncached, and smaller ones are still cached.
#[test]
fn a_full_disk_streams_through() {
    let (large, small) = (Blob::noise(14, 60 * MB), Blob::noise(15, 2 * MB));
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, &large);
    upstream.add_blob(REPOSITORY, &small);
    let server = Setup::mirroring(&upstream.url()).disk(40).start();
    fetches_right(&server, &large);
    fetches_right(&server, &large);
    fetches_right(&server, &small);
    let sent = upstream.sent(Kind::Blob);
    fetches_right(&server, &small);
    assert_eq!(upstream.sent(Kind::Blob), sent, "the small one is cached");
}

/// An uncached, corrupt blob is never a complete body either.
#[test]
fn a_full_disk_passes_on_no_corrupt_body() {
    let (upstream, large) = (Upstream::plain(), Blob::noise(14, 60 * MB));
    upstream.add_blob(REPOSITORY, &large);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(30 * MB)));
    let server = Setup::mirroring(&upstream.url()).disk(40).start();
    let response = server.blob(REPOSITORY, &large.digest).send();
    assert!(response.status != 200 || response.summary().end == BodyEnd::Cut);
}

/// Blobs of one pull do not wait for each other.
#[test]
fn a_hanging_blob_holds_up_no_other() {
    let (hanging, other) = (Blob::noise(16, MB), Blob::noise(17, MB));
    let (upstream, server) = mirrored(&hanging);
    upstream.add_blob(REPOSITORY, &other);
    upstream.fault(Rule::on(Kind::Blob, Fault::Hang).path(&hanging.digest));
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| server.blob(REPOSITORY, &hanging.digest).patience(Duration::from_secs(100)).send());
        wait_until("the hanging fill", Duration::from_secs(10), || upstream.count("GET", Kind::Blob) > 0);
        fetches_right(&server, &other);
        let response = waiting.join().unwrap();
        assert!([502, 504].contains(&response.status), "{}", response.status);
    });
}
