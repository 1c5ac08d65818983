//! A large blob from a slow upstream is fetched by several connections, and is whole whatever happens to them.

use std::time::{Duration, Instant};

use crate::support::{
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::{Cut, Fault, Kind, Recorded, Rule, Upstream},
};

const NAME: &str = "org/app";
const SIZE: usize = 32_000_000;
const RATE: u64 = 4_000_000;

/// A slow upstream with a large blob, and a server that has its manifest.
fn slow(seed: u64) -> (Upstream, Server, Blob) {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(seed, SIZE));
    upstream.add(NAME, "1", &Image::of_layers(Format::Oci, std::slice::from_ref(&blob)));
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(RATE)));
    let server = Server::mirroring(&upstream);
    assert_eq!(server.manifest(NAME, "1").send().status, 200);
    (upstream, server, blob)
}

/// Pulls the blob, and returns the time.
fn pull(server: &Server, blob: &Blob) -> Duration {
    let began = Instant::now();
    let pulled = server.blob(NAME, &blob.digest).send();
    assert_eq!((pulled.status, pulled.summary().digest.as_str()), (200, blob.digest.as_str()));
    began.elapsed()
}

fn is_kept(upstream: &Upstream, server: &Server, blob: &Blob) {
    let asked = upstream.requests().len();
    pull(server, blob);
    assert_eq!(upstream.requests().len(), asked, "it is kept");
}

/// Four connections take less than half of the time of one, and fetch nothing twice.
#[test]
fn a_slow_connection_gets_company() {
    let (upstream, server, blob) = slow(2400);
    let took = pull(&server, &blob);
    let alone = Duration::from_secs_f64(SIZE as f64 / RATE as f64);
    assert!(took < alone * 6 / 10, "{took:.1?}, and {alone:.1?} by one connection");
    let sent = upstream.sent(Kind::Blob);
    assert!(sent as f64 <= 1.1 * SIZE as f64, "{sent} bytes for {SIZE}");
    is_kept(&upstream, &server, &blob);
}

/// An upstream without ranges is asked by one connection, after one attempt.
#[test]
fn an_upstream_without_ranges_is_not_split() {
    let (upstream, server, blob) = slow(2401);
    upstream.options(|options| options.ignores_ranges = true);
    pull(&server, &blob);
    // The single connection, the segments, and the single one again.
    let asked = upstream.count("GET", Kind::Blob);
    assert!(asked <= 6, "{asked} requests");
    is_kept(&upstream, &server, &blob);
    // The next blob is not split at all.
    let another = Blob::noise(2410, SIZE / 2);
    upstream.add(NAME, "2", &Image::of_layers(Format::Oci, std::slice::from_ref(&another)));
    assert_eq!(server.manifest(NAME, "2").send().status, 200);
    pull(&server, &another);
    assert_eq!(upstream.count("GET", Kind::Blob), asked + 1);
}

/// A blob that comes whole because its `ETag` has changed (RFC 9110, section 13.1.5) is no sign of an upstream without
/// ranges: the next blob is split.
#[test]
fn an_upstream_whose_etag_changes_is_split() {
    let (upstream, server, blob) = slow(2411);
    upstream.options(|options| options.new_etags = true);
    let another = Blob::noise(2412, 2_000_000);
    upstream.add(NAME, "2", &Image::of_layers(Format::Oci, std::slice::from_ref(&another)));
    assert_eq!(server.manifest(NAME, "2").send().status, 200);
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(1_000_000, Cut::Fin)).times(1));
    pull(&server, &another);
    let (asked, conditional) = (upstream.requests(), |seen: &Recorded| seen.request.header("if-range").is_some());
    assert!(asked.iter().any(conditional), "it was resumed");
    pull(&server, &blob);
    let begun = upstream.count("GET", Kind::Blob) - asked.iter().filter(|seen| seen.kind == Kind::Blob).count();
    assert!(begun >= 4, "{begun} requests");
}

/// A mirror without ranges keeps no fetch of the upstream itself from being split.
#[test]
fn a_mirror_without_ranges_is_not_the_upstream() {
    let (itself, mirror, blob) = (Upstream::plain(), Upstream::plain(), Blob::noise(2413, SIZE / 2));
    let first = Blob::noise(2414, 2_000_000);
    for upstream in [&itself, &mirror] {
        upstream.add(NAME, "1", &Image::of_layers(Format::Oci, std::slice::from_ref(&first)));
        upstream.add(NAME, "2", &Image::of_layers(Format::Oci, std::slice::from_ref(&blob)));
    }
    mirror.options(|options| options.ignores_ranges = true);
    let section = format!("{{docker.io: {{url: '{}', mirrors: ['{}']}}}}", itself.url(), mirror.url());
    let server = Setup::bare().variable("REGISTRY_PROXY_UPSTREAMS", &section).start();
    assert_eq!(server.manifest(NAME, "1").send().status, 200);
    let on_first = |fault, times| Rule::on(Kind::Blob, fault).path(&first.digest).times(times);
    // Cut, and refused when it is resumed, so that the mirror goes on from its start.
    itself.fault(on_first(Fault::CutAfter(1_000_000, Cut::Fin), 1));
    itself.fault(on_first(Fault::Status(503), 2));
    pull(&server, &first);
    assert_eq!(mirror.count("GET", Kind::Blob), 1);
    assert_eq!(server.manifest(NAME, "2").send().status, 200);
    itself.fault(Rule::on(Kind::Blob, Fault::Bandwidth(RATE)));
    pull(&server, &blob);
    let of_blob = |seen: &&Recorded| seen.request.path.ends_with(&blob.digest);
    let begun = itself.requests().iter().filter(of_blob).count();
    assert!(begun >= 4, "{begun} requests");
}

/// Segments that are cut or refused cost time, and no byte: the single connection goes on.
#[test]
fn segments_may_fail() {
    for (seed, fault) in
        [(2402, Fault::CutAfter(1_000_000, Cut::Rst)), (2403, Fault::Status(503)), (2404, Fault::Status(404))]
    {
        let (upstream, server, blob) = slow(seed);
        // The first request is the single connection; the next ones are segments.
        let begun = || upstream.count("GET", Kind::Blob) > 0;
        std::thread::scope(|scope| {
            let pulled = scope.spawn(|| pull(&server, &blob));
            crate::support::wait_until("the fetch", Duration::from_secs(10), begun);
            upstream.fault(Rule::on(Kind::Blob, fault.clone()).times(2));
            pulled.join().unwrap();
        });
        // The single connection, three segments, and the single connection again.
        assert!(upstream.count("GET", Kind::Blob) >= 5, "{} requests", upstream.count("GET", Kind::Blob));
        is_kept(&upstream, &server, &blob);
    }
}
