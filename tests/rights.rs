//! A fill serves only clients whose right to the blob is confirmed: they do not wait for unauthorized ones, and
//! unauthorized ones get no byte.

use std::{
    fs, thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    hash::sha256,
    http::BodyEnd,
    images::{Blob, Format, Image, Manifest},
    rounds,
    server::{Server, Setup},
    upstream::{Cut, Fault, Gate, Kind, Rule, Upstream},
    volume_check::VolumeCheck,
    wait_until,
};

const OWNER: &str = "library/owner";
const STRANGERS: [&str; 2] = ["acme/stranger", "acme/other-stranger"];

fn owned(blob: &Blob) -> (Upstream, Server) {
    let upstream = Upstream::plain();
    upstream.add_blob(OWNER, blob);
    let server = Server::mirroring(&upstream);
    (upstream, server)
}

fn is_served(server: &Server, repository: &str, blob: &Blob) {
    let response = server.blob(repository, &blob.digest).patience(Duration::from_secs(60)).send();
    assert_eq!(response.status, 200, "{repository}");
    assert_eq!(response.summary().digest, blob.digest, "{repository}");
}

/// An upstream that does not respond for names without a right to a blob does not delay authorized clients.
#[test]
fn no_pull_waits_for_an_unconfirmed_fill_of_another_repository() {
    let blob = Blob::noise(800, 300_000);
    let (upstream, server) = owned(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Hang).path("stranger"));
    thread::scope(|scope| {
        let strangers = STRANGERS.map(|stranger| {
            let (server, blob) = (&server, &blob);
            scope.spawn(move || server.blob(stranger, &blob.digest).patience(Duration::from_secs(60)).send().status)
        });
        wait_until("the strangers' questions", Duration::from_secs(10), || upstream.count("GET", Kind::Blob) >= 2);
        let begun = Instant::now();
        is_served(&server, OWNER, &blob);
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for {:?}", begun.elapsed());
        for stranger in strangers {
            assert!([502, 504].contains(&stranger.join().unwrap()));
        }
    });
}

/// In any order of requests and responses, an authorized pull succeeds and an unauthorized one does not.
#[test]
fn a_permitted_pull_does_not_fail_with_an_unconfirmed_fill() {
    let upstream = Upstream::plain();
    let server = Server::mirroring(&upstream);
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(20))).path("stranger"));
    for round in 0..rounds(100) as u64 {
        let blob = Blob::noise(810 + round, 100_000);
        upstream.add_blob(OWNER, &blob);
        thread::scope(|scope| {
            for stranger in STRANGERS {
                let (server, blob) = (&server, &blob);
                scope.spawn(move || assert_eq!(server.blob(stranger, &blob.digest).send().status, 404, "{stranger}"));
            }
            // Before them, among them, and after their responses.
            thread::sleep(Duration::from_millis(round % 5 * 8));
            is_served(&server, OWNER, &blob);
        });
    }
}

/// Two repositories that have it share one fetch, for any order of their upstreams' responses.
#[test]
fn two_that_have_it_share_a_fill() {
    let blob = Blob::noise(801, 20_000_000);
    let (upstream, server) = owned(&blob);
    upstream.add_blob("acme/app", &blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(300))).path("acme/app").times(1));
    thread::scope(|scope| {
        let first = scope.spawn(|| is_served(&server, "acme/app", &blob));
        wait_until("its question", Duration::from_secs(10), || upstream.count("GET", Kind::Blob) == 1);
        is_served(&server, OWNER, &blob);
        first.join().unwrap();
    });
    let sent = upstream.sent(Kind::Blob);
    assert!(sent <= blob.len() as u64 * 11 / 10, "{sent} bytes for {}", blob.len());
}

/// Checking a blob's bytes again is not delayed by an unauthorized client whose upstream hangs.
#[test]
fn a_check_of_stored_content_waits_for_no_unconfirmed_fill() {
    let blob = Blob::noise(802, 300_000);
    let (upstream, server) = owned(&blob);
    is_served(&server, OWNER, &blob);
    let data = fs::File::options().write(true).open(VolumeCheck::new(server.data()).data(&blob.digest)).unwrap();
    data.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    upstream.fault(Rule::on(Kind::Blob, Fault::Hang).path("stranger"));
    thread::scope(|scope| {
        let stranger = STRANGERS[0];
        let asking =
            scope.spawn(|| server.blob(stranger, &blob.digest).patience(Duration::from_secs(60)).send().status);
        let asked = || upstream.requests().iter().any(|recorded| recorded.request.path.contains(stranger));
        wait_until("the stranger's question", Duration::from_secs(10), asked);
        let begun = Instant::now();
        is_served(&server, OWNER, &blob);
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for {:?}", begun.elapsed());
        assert!([502, 504].contains(&asking.join().unwrap()));
    });
}

/// An image whose manifest gives a blob another size than its bytes have.
fn misnamed(layer: &Blob, size: usize) -> Image {
    let mut image = Image::of_layers(Format::Oci, std::slice::from_ref(layer));
    let mut body: serde_json::Value = serde_json::from_slice(&image.top.bytes).unwrap();
    body["layers"][0]["size"] = size.into();
    image.top = Manifest::new(Format::Oci.manifest(), &body);
    image
}

/// A blob whose length at the upstream differs from the manifest's is refused before its first byte; a client with a
/// right manifest gets it.
#[test]
fn a_blob_of_another_size_than_its_manifest_says_is_refused() {
    let blob = Blob::noise(803, 5_000_000);
    let (upstream, server) = owned(&blob);
    for (number, size) in [1, blob.len() - 1, blob.len() + 1].into_iter().enumerate() {
        let (repository, image) = (format!("acme/wrong{number}"), misnamed(&blob, size));
        upstream.add(&repository, "latest", &image);
        assert_eq!(server.manifest(&repository, "latest").send().status, 200);
        let response = server.blob(&repository, &blob.digest).send();
        assert_eq!(response.status, 502, "said to have {size} bytes");
        let logged = |line: &str| line.contains(&size.to_string()) && line.contains(&blob.len().to_string());
        wait_until("both sizes in the log", Duration::from_secs(5), || server.log().lines().any(logged));
    }
    let image = Image::of_layers(Format::Oci, std::slice::from_ref(&blob));
    upstream.add("acme/right", "latest", &image);
    server.pull("acme/right", "latest", &image);
}

/// An unauthorized client's denial does not affect the partial blob that is kept for others.
#[test]
fn an_unconfirmed_request_leaves_a_partial_blob_alone() {
    let blob = Blob::window(6_000, 5_000_000);
    let (upstream, server) = owned(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(3_000_000, Cut::Fin)).times(1));
    let gate = Gate::new();
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(1_000_000, gate.clone())).times(1));
    let response = server.blob(OWNER, &blob.digest).patience(Duration::from_secs(60)).send();
    upstream.fault(Rule::on(Kind::Blob, Fault::Status(403)));
    gate.open();
    assert_eq!(response.summary().end, BodyEnd::Cut);
    upstream.heal();
    assert_eq!(server.blob(STRANGERS[0], &blob.digest).send().status, 404);
    is_served(&server, OWNER, &blob);
    let sent = upstream.sent(Kind::Blob);
    assert!(sent < blob.len() as u64 + 1000, "{sent} bytes for {}", blob.len());
}

const PORTAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n";

/// A captive portal answers 200 to a HEAD of any path: that confirms no right.
#[test]
fn a_portals_answer_shows_no_right() {
    let image = Image::single(Format::Oci, 804);
    let upstream = Upstream::plain();
    upstream.add(OWNER, "latest", &image);
    let server = Server::mirroring(&upstream);
    server.pull(OWNER, "latest", &image);
    for kind in [Kind::Manifest, Kind::Blob] {
        upstream.fault(Rule::on(kind, Fault::Raw(PORTAL)).method("HEAD").path("stranger"));
    }
    let status = server.manifest(STRANGERS[0], image.digest()).send().status;
    assert_eq!(status, 404, "the bytes were asked for, and are not there");
    assert_eq!(server.blob(STRANGERS[0], &image.layer().digest).send().status, 502);
    upstream.heal();
    assert_eq!(server.blob(STRANGERS[0], &image.layer().digest).send().status, 404, "nothing was linked");
    server.pull(OWNER, "latest", &image);
}

/// Before any byte was sent, wrong bytes are answered by a status.
#[test]
fn a_small_corrupt_blob_is_a_bad_gateway() {
    let upstream = Upstream::plain();
    let server = Server::mirroring(&upstream);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(0)));
    for round in 0..rounds(200) as u64 {
        let blob = Blob::noise(900 + round, 1 + (round as usize * 777) % 60_000);
        upstream.add_blob(OWNER, &blob);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(server.blob(OWNER, &blob.digest).send().status, 502));
            }
        });
    }
    upstream.heal();
    let blob = Blob::new("right");
    assert_eq!(blob.digest, sha256(b"right"));
    upstream.add_blob(OWNER, &blob);
    is_served(&server, OWNER, &blob);
}

/// A captive portal's 200 to a GET or HEAD of a blob: 19 bytes of another content.
const PORTAL_PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n<html>log in</html>";

/// A response with another digest or size than the blob's confirms no right to it: neither to a cached blob, nor to one
/// that has to be checked first, nor to one being filled.
#[test]
fn an_answer_that_contradicts_shows_no_right() {
    let blob = Blob::noise(805, 300_000);
    let (upstream, server) = owned(&blob);
    upstream.add_blob(STRANGERS[0], &blob);
    is_served(&server, OWNER, &blob);
    let doubt = || {
        let data = fs::File::options().write(true).open(VolumeCheck::new(server.data()).data(&blob.digest)).unwrap();
        data.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    };
    for in_doubt in [false, true] {
        for fault in [Fault::WrongDigestHeader, Fault::Raw(PORTAL)] {
            upstream.fault(Rule::on(Kind::Blob, fault.clone()).method("HEAD").path("stranger"));
            if in_doubt {
                doubt();
            }
            let status = server.blob(STRANGERS[0], &blob.digest).send().status;
            assert_eq!(status, 502, "{fault:?}, to be checked: {in_doubt}");
            upstream.heal();
        }
    }
    is_served(&server, OWNER, &blob);
    assert_eq!(upstream.count("GET", Kind::Blob), 1, "nothing here was damaged");
}

/// As above, while the blob is fetched for another repository.
#[test]
fn an_answer_that_contradicts_follows_no_fill() {
    for fault in [Fault::WrongDigestHeader, Fault::Raw(PORTAL)] {
        let (blob, gate) = (Blob::noise(806, 3_000_000), Gate::new());
        let (upstream, server) = owned(&blob);
        upstream.add_blob(STRANGERS[0], &blob);
        upstream.fault(Rule::on(Kind::Blob, fault).method("HEAD").path("stranger"));
        upstream.fault(Rule::on(Kind::Blob, Fault::Gate(1_000_000, gate.clone())).path(OWNER));
        let response = server.blob(OWNER, &blob.digest).patience(Duration::from_secs(60)).send();
        assert_eq!(server.blob(STRANGERS[0], &blob.digest).send().status, 502);
        gate.open();
        assert_eq!(response.summary().digest, blob.digest);
    }
}

/// An unauthorized fill whose upstream sent another content yields to the blob's own fill, and does not join it.
#[test]
fn a_fill_that_a_portal_answered_follows_no_other() {
    let (blob, gate) = (Blob::noise(807, 3_000_000), Gate::new());
    let (upstream, server) = owned(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Delay(Duration::from_millis(1500))).path("stranger"));
    upstream.fault(Rule::on(Kind::Blob, Fault::Raw(PORTAL_PAGE)).path("stranger"));
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(1_000_000, gate.clone())).path(OWNER));
    thread::scope(|scope| {
        let stranger = scope.spawn(|| server.blob(STRANGERS[0], &blob.digest).send().status);
        wait_until("the stranger's question", Duration::from_secs(10), || upstream.count("GET", Kind::Blob) == 1);
        let response = server.blob(OWNER, &blob.digest).patience(Duration::from_secs(60)).send();
        assert_eq!(stranger.join().unwrap(), 502);
        gate.open();
        assert_eq!(response.summary().digest, blob.digest);
    });
}

/// A request without a right to a blob does not extend its lease or delay its eviction.
#[test]
fn an_unconfirmed_request_counts_as_no_use() {
    let upstream = Upstream::plain();
    let (asked_for, next) = (Blob::noise(808, 6_000_000), Blob::noise(809, 8_000_000));
    upstream.add_blob(OWNER, &asked_for);
    upstream.add_blob(OWNER, &next);
    let lease = Duration::from_secs(3);
    // Space for one of the two, beside the 20 MiB of headroom.
    let server = Setup::mirroring(&upstream.url())
        .quota("32MB")
        .variable("REGISTRY_STORAGE_MAXOBJECT", "100%")
        .lease(&format!("{}s", lease.as_secs()))
        .start();
    is_served(&server, OWNER, &asked_for);
    thread::sleep(lease + Duration::from_millis(2000));
    assert_eq!(server.blob(STRANGERS[0], &asked_for.digest).send().status, 404);
    is_served(&server, OWNER, &next);
    let mut checker = VolumeCheck::new(server.data());
    assert!(
        checker.has_blob(&next.digest) && !checker.has_blob(&asked_for.digest),
        "the other one is out of its lease"
    );
}
