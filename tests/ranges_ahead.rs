//! Ranges of a blob being filled: they cost the upstream almost nothing, and a client that does not read holds no
//! connection.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    http::{self, BodyEnd},
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
    wait_until,
};

const REPOSITORY: &str = "library/ranges";
const MB: usize = 1_000_000;
const MIB: usize = 1 << 20;

fn mirrored(blob: &Blob) -> (Upstream, Server) {
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, blob);
    // All clients of a test have one address.
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_HTTP_LIMITS_PERADDRESS", "0").start();
    (upstream, server)
}

fn range(server: &Server, blob: &Blob, range: &str) -> http::Request {
    server.blob(REPOSITORY, &blob.digest).header("Range", range).patience(Duration::from_secs(60))
}

fn is_served_whole(server: &Server, blob: &Blob) {
    let got = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send().summary();
    assert_eq!((got.end, got.length, got.digest.as_str()), (BodyEnd::Complete, blob.len() as u64, &*blob.digest));
}

/// Concurrent open-ended ranges, each closed after its chunk, as containerd 2.1 sends them.
fn parallel(at_once: usize, chunk: usize, bandwidth: Option<u64>) {
    let blob = Blob::noise(1000, 105 * MB);
    let (upstream, server) = mirrored(&blob);
    if let Some(rate) = bandwidth {
        upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(rate)));
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(chunk, Ordering::SeqCst);
                    if from >= blob.len() {
                        return;
                    }
                    let until = (from + chunk).min(blob.len());
                    let mut response = range(&server, &blob, &format!("bytes={from}-")).send();
                    assert_eq!(response.status, 206);
                    assert!(response.exactly(until - from) == blob.bytes[from..until], "the chunk at {from}");
                }
            });
        }
    });
    is_served_whole(&server, &blob);
    let (sent, asked) = (upstream.sent(Kind::Blob), upstream.count("GET", Kind::Blob));
    assert!(sent <= blob.len() as u64 * 11 / 10, "{sent} bytes in {asked} GETs for {}", blob.len());
}

#[test]
fn eight_ranges_at_once_cost_one_blob() {
    parallel(8, 8 * MIB, None);
}

#[test]
fn sixteen_ranges_at_once_cost_one_blob() {
    parallel(16, 4 * MIB, None);
}

#[test]
fn sixteen_ranges_of_a_slow_upstream_cost_one_blob() {
    parallel(16, 4 * MIB, Some(30 * MB as u64));
}

/// A blob of 100 MB whose fill waits at its first MB until the gate opens.
fn held() -> (Blob, Gate, Upstream, Server) {
    let (blob, gate) = (Blob::noise(1001, 100 * MB), Gate::new());
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(MB as u64, gate.clone())).times(1));
    server.blob(REPOSITORY, &blob.digest).send().exactly(MB / 2);
    (blob, gate, upstream, server)
}

/// Two hundred clients that request one range far ahead of the fill get the same bytes, fetched once; those that
/// request more than may be fetched twice wait for the fill.
#[test]
fn two_hundred_ranges_far_ahead_share_their_bytes() {
    let (blob, gate, upstream, server) = held();
    let (from, some) = (80 * MB, 3 * MB);
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let mut response = range(&server, &blob, &format!("bytes={from}-")).send();
                assert_eq!(response.status, 206);
                assert!(response.exactly(some) == blob.bytes[from..from + some]);
            });
        }
    });
    let mut waiting = range(&server, &blob, &format!("bytes={from}-")).send();
    thread::scope(|scope| {
        let rest = scope.spawn(|| waiting.exactly(blob.len() - from));
        wait_until("the bytes that may be fetched twice", Duration::from_secs(20), || {
            upstream.sent(Kind::Blob) > 9 * MB as u64
        });
        thread::sleep(Duration::from_secs(1));
        let asked = upstream.count("GET", Kind::Blob);
        assert!(asked <= 11, "{asked} GETs");
        gate.open();
        assert!(rest.join().unwrap() == blob.bytes[from..]);
    });
    is_served_whole(&server, &blob);
    let sent = upstream.sent(Kind::Blob);
    assert!(sent <= blob.len() as u64 * 11 / 10, "{sent} bytes for {}", blob.len());
}

/// Clients that do not read, at any position, hold no connection to the upstream; others are served meanwhile.
#[test]
fn a_client_that_does_not_read_holds_no_connection() {
    let (blob, gate, upstream, server) = held();
    let places = (0..300).map(|number| 40 * MB + number * 190_000);
    let idle: Vec<_> =
        places.map(|from| range(&server, &blob, &format!("bytes={from}-")).window(4096).send()).collect();
    assert!(idle.iter().all(|response| response.status == 206));
    thread::sleep(Duration::from_secs(2));
    let asked = upstream.count("GET", Kind::Blob);
    assert!(asked <= 11, "{asked} GETs for {} clients that do not read", idle.len());
    let image = Image::single(Format::Oci, 1002);
    upstream.add("library/other", "latest", &image);
    let begun = Instant::now();
    server.pull("library/other", "latest", &image);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    gate.open();
    drop(idle);
    is_served_whole(&server, &blob);
}

/// Bytes fetched ahead for a range are not used for the whole blob: they are not hashed.
#[test]
fn what_was_fetched_ahead_is_no_part_of_a_whole_blob() {
    let (blob, window) = (Blob::window(3_000_000, 44 * MIB), 40 * MIB);
    let (upstream, server) = mirrored(&blob);
    let (near, inside) = (Gate::new(), Gate::new());
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(MIB as u64, near.clone())).times(1));
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate((window + 100_000) as u64, inside.clone())).times(1));
    let mut whole = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send();
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(window + 500_000)));
    assert_eq!(range(&server, &blob, &format!("bytes={window}-{}", window + MIB - 1)).send().body().bytes.len(), MIB);
    near.open();
    let sent = (window + 100_000 + MIB) as u64;
    wait_until("the fill to stand in the window", Duration::from_secs(30), || upstream.sent(Kind::Blob) >= sent);
    let got = whole.exactly(window + 90_000);
    let rest = thread::scope(|scope| {
        let reading = scope.spawn(|| whole.body());
        thread::sleep(Duration::from_secs(1));
        inside.open();
        reading.join().unwrap()
    });
    assert_eq!(rest.end, BodyEnd::Complete);
    assert!([got, rest.bytes].concat() == blob.bytes, "bytes that nobody hashed");
}

/// The same for an uncached blob, which each client streams from the upstream: a client that does not read releases the
/// connection, and continues at its position.
#[test]
fn a_client_that_does_not_read_releases_its_stream() {
    let blob = Blob::noise(1003, 60 * MB);
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, &blob);
    let server = Setup::mirroring(&upstream.url()).disk(40).start();
    let get = || server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).window(4096).send();
    let mut idle: Vec<_> = (0..5).map(|_| get()).collect();
    assert!(idle.iter().all(|response| response.status == 200));
    wait_until("their connections to be let go", Duration::from_secs(20), || upstream.connections() == 0);
    let last = idle.pop().unwrap().summary();
    assert_eq!((last.end, last.digest.as_str()), (BodyEnd::Complete, &*blob.digest));
}

/// A client that reads a little from time to time releases it, too: below the minimum rate it could hold it without
/// end.
#[test]
fn a_client_that_reads_too_slowly_releases_its_stream() {
    let blob = Blob::noise(1005, 40 * MB);
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, &blob);
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_STORAGE_MAXOBJECT", "1KB").start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let get = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).window(4096);
                let mut response = get.send();
                while !over.load(Ordering::Relaxed) {
                    response.exactly(4000);
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        wait_until("five streams", Duration::from_secs(20), || upstream.count("GET", Kind::Blob) >= 5);
        let begun = Instant::now();
        let mut held = upstream.connections();
        while held > 0 && begun.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(50));
            held = upstream.connections();
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(held, 0, "connections that are held for them");
    });
}

/// A range that ends before the blob does leaves nothing of the request made before the blob was known not to be
/// cacheable.
#[test]
fn a_client_that_does_not_read_a_range_releases_the_blob() {
    let blob = Blob::window(2_000_000, 40 * MIB);
    let upstream = Upstream::plain();
    upstream.add_blob(REPOSITORY, &blob);
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_STORAGE_MAXOBJECT", "1KB").start();
    let get = || range(&server, &blob, &format!("bytes=0-{}", 30 * MIB - 1)).window(4096).send();
    let mut idle: Vec<_> = (0..5).map(|_| get()).collect();
    assert!(idle.iter().all(|response| response.status == 206));
    wait_until("their connections to be let go", Duration::from_secs(20), || upstream.connections() == 0);
    assert!(idle.pop().unwrap().body().bytes == blob.bytes[..30 * MIB]);
}

/// More fills than connections: the others wait, nothing else does, and the upstream does not count as failed.
#[test]
fn a_full_pool_is_not_an_outage() {
    const MANY: usize = 1_100;
    let (upstream, gate) = (Upstream::plain(), Gate::new());
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(0, gate.clone())).path("library/many"));
    let blobs: Vec<_> = (0..MANY).map(|number| Blob::window(number * 1000, 100_000)).collect();
    blobs.iter().for_each(|blob| upstream.add_blob("library/many", blob));
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_HTTP_LIMITS_PERADDRESS", "0").start();
    let image = Image::single(Format::Oci, 1004);
    upstream.add("library/other", "latest", &image);
    thread::scope(|scope| {
        let pulls: Vec<_> = blobs
            .iter()
            .map(|blob| {
                let get = server.blob("library/many", &blob.digest).patience(Duration::from_secs(60));
                scope.spawn(move || get.send().summary().digest)
            })
            .collect();
        let asked = || upstream.count("GET", Kind::Blob);
        wait_until("the pool to be full", Duration::from_secs(30), || asked() >= 1000);
        for tag in ["latest", image.digest()] {
            assert_eq!(server.manifest("library/other", tag).send().status, 200, "{tag}");
        }
        // Longer than the time limit for an upstream's response.
        thread::sleep(Duration::from_secs(11));
        assert!(asked() < MANY, "they all have a connection: this shows nothing");
        assert_eq!(server.manifest("library/other", "latest").send().status, 200);
        gate.open();
        for (pull, blob) in pulls.into_iter().zip(&blobs) {
            assert_eq!(pull.join().unwrap(), blob.digest);
        }
    });
    server.pull("library/other", "latest", &image);
    assert!(!server.log().contains("unreachable"), "the upstream is blamed");
}

/// The processor time that a server has used so far.
fn processor(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A fill makes hundreds of steps a second: a reader that waits far ahead is not woken by each.
#[test]
fn two_hundred_that_wait_far_ahead_of_a_fill_cost_next_to_nothing() {
    let blob = Blob::noise(1005, 100 * MB);
    let (upstream, server) = mirrored(&blob);
    // Too near to be fetched by itself: the fill is there in less than ten seconds.
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(16 * MB as u64)));
    let begin = |from: usize| range(&server, &blob, &format!("bytes={from}-")).window(4096).send();
    let measure = || {
        thread::sleep(Duration::from_millis(300));
        let before = processor(&server);
        thread::sleep(Duration::from_secs(2));
        processor(&server) - before
    };
    let _whole = begin(0);
    let alone = measure();
    let waiting: Vec<_> = (0..200).map(|_| begin(99 * MB)).collect();
    let crowded = measure();
    assert!(waiting.iter().all(|response| response.status == 206));
    assert!(
        crowded < alone * 2 + Duration::from_millis(80),
        "{crowded:?} of the processor, {alone:?} before they came"
    );
}
