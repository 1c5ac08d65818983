//! Fills from upstreams that cut, stall, or send wrong bytes.

use std::{thread, time::Duration};

use super::{MB, REPOSITORY, fetch, fetches_right, mirrored};
use crate::support::{
    hash::hex,
    http::{self, BodyEnd},
    images::{Blob, Format, Image},
    scratch,
    server::Server,
    upstream::{Cdn, Cut, Fault, Kind, Recorded, Rule, Settings, Upstream},
    wait_until,
};

/// A body that is cut three times: one complete, right response, at most 1.05 times the bytes.
fn survives_cuts(upstream: &Upstream, kind: Kind, cut: Cut) {
    let blob = Blob::noise(3, 24 * MB);
    upstream.add_blob(REPOSITORY, &blob);
    upstream.fault(Rule::on(kind, Fault::CutAfter(6 * MB as u64, cut)).method("GET").times(3));
    let server = Server::mirroring(upstream);
    fetches_right(&server, &blob);
    let sent = upstream.sent(kind);
    assert!(sent <= (blob.len() as u64 * 105) / 100, "{sent} bytes for {}", blob.len());
    let requests = upstream.requests();
    let ranged = |recorded: &&Recorded| recorded.kind == kind && recorded.request.header("range").is_some();
    let resumes: Vec<_> = requests.iter().filter(ranged).collect();
    assert_eq!(resumes.len(), 3, "each cut is resumed by a range");
    assert!(resumes.iter().all(|recorded| recorded.request.header("if-range").is_some()), "on the ETag");
    fetches_right(&server, &blob);
    assert_eq!(upstream.sent(kind), sent, "and kept");
}

/// No client gets a complete body of a corrupt blob; without the fault the next pull is right.
fn refuses_corruption_at(offset: usize) {
    let blob = Blob::noise(4, 3 * MB);
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(offset)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let response = server.blob(REPOSITORY, &blob.digest).send();
                let (status, got) = (response.status, response.summary());
                assert!(status != 200 || got.end == BodyEnd::Cut, "a complete body of a corrupt blob: {got:?}");
                assert!(status != 200 || got.length < blob.len() as u64, "the last byte is withheld");
            });
        }
    });
    let kept = scratch::files(server.data());
    assert!(!kept.iter().any(|path| path.to_string_lossy().contains(hex(&blob.digest))), "it is kept: {kept:?}");
    let logged = || server.log().lines().any(|line| line.contains(hex(&blob.digest)) && line.contains("do not match"));
    wait_until("the mismatch to be logged", Duration::from_secs(5), logged);
    upstream.heal();
    fetches_right(&server, &blob);
}

/// Cut by FIN.
#[test]
fn a_fill_survives_three_fins() {
    survives_cuts(&Upstream::plain(), Kind::Blob, Cut::Fin);
}

/// Cut by RST.
#[test]
fn a_fill_survives_three_resets() {
    survives_cuts(&Upstream::plain(), Kind::Blob, Cut::Rst);
}

/// Cut by a CDN whose links stay valid.
#[test]
fn a_fill_survives_a_cdn_that_cuts() {
    let upstream = Settings::default().cdn(Cdn::links_living(Duration::from_secs(60))).start();
    survives_cuts(&upstream, Kind::Cdn, Cut::Rst);
}

/// Cut by a CDN whose link has expired when it is needed again: a new one is requested.
#[test]
fn an_expired_link_is_asked_again() {
    let upstream = Settings::default().cdn(Cdn::links_living(Duration::from_millis(400))).start();
    let blob = Blob::noise(30, 4 * MB);
    upstream.add_blob(REPOSITORY, &blob);
    upstream.fault(Rule::on(Kind::Cdn, Fault::Bandwidth(2 * MB as u64)).times(1));
    upstream.fault(Rule::on(Kind::Cdn, Fault::CutAfter(2 * MB as u64, Cut::Fin)).times(1));
    let server = Server::mirroring(&upstream);
    fetches_right(&server, &blob);
    assert!(upstream.sent(Kind::Cdn) <= blob.len() as u64 + 1000, "resumed, not repeated");
}

/// A CDN that refuses says nothing of the blob, which is not absent: neither for its size nor for its bytes.
#[test]
fn a_blob_that_the_cdn_refuses_is_not_unknown() {
    let upstream = Settings::default().cdn(Cdn::links_living(Duration::from_secs(60))).start();
    let blob = Blob::noise(32, MB);
    upstream.add_blob(REPOSITORY, &blob);
    upstream.fault(Rule::on(Kind::Cdn, Fault::Status(403)));
    let server = Server::mirroring(&upstream);
    let url = format!("{}/v2/{REPOSITORY}/blobs/{}?ns=docker.io", server.url(), blob.digest);
    assert_eq!((http::head(&url).send().status, http::get(&url).send().status), (502, 502));
}

/// An upstream without ranges is read again from the start, and the response is still right.
#[test]
fn a_fill_survives_an_upstream_without_ranges() {
    let blob = Blob::noise(31, 6 * MB);
    let (upstream, server) = mirrored(&blob);
    upstream.options(|options| options.ignores_ranges = true);
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(3 * MB as u64, Cut::Fin)).times(1));
    let got = fetch(&server, &blob);
    assert!(got.end == BodyEnd::Cut || got.digest == blob.digest, "never a wrong whole");
    fetches_right(&server, &blob);
}

/// Corrupt at the first byte.
#[test]
fn a_corrupt_first_byte_is_never_a_complete_body() {
    refuses_corruption_at(0);
}

/// Corrupt at the last byte.
#[test]
fn a_corrupt_last_byte_is_never_a_complete_body() {
    refuses_corruption_at(3 * MB - 1);
}

/// The upstream sends a whole `200` too short or without a length: the rest is requested, or the client's response is
/// cut.
#[test]
fn a_short_body_is_an_error_and_never_an_end() {
    let blob = Blob::noise(41, 2 * MB);
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Chunked));
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(MB as u64, Cut::Fin)));
    let response = server.blob(REPOSITORY, &blob.digest).send();
    if response.status == 200 {
        let summary = response.summary();
        assert!(summary.end == BodyEnd::Cut || summary.digest == blob.digest);
    }
    upstream.heal();
    fetches_right(&server, &blob);
}

/// A corrupt manifest is neither served nor stored, by tag and by digest.
#[test]
fn a_corrupt_manifest_is_never_served() {
    for fault in [Fault::Corrupt(9), Fault::WrongDigestHeader, Fault::CutAfter(20, Cut::Fin)] {
        let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 40));
        upstream.add(REPOSITORY, "latest", &image);
        let (server, what) = (Server::mirroring(&upstream), format!("{fault:?}"));
        upstream.fault(Rule::on(Kind::Manifest, fault).method("GET"));
        assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 502, "{what} by tag");
        // For a request by digest, matching bytes are right, whatever a header says.
        let by_digest = server.manifest(REPOSITORY, image.digest()).send().status;
        assert!(by_digest == 502 || (by_digest == 200 && what == "WrongDigestHeader"), "{what} by digest: {by_digest}");
        upstream.heal();
        server.pull(REPOSITORY, "latest", &image);
    }
}

/// If an upstream stalls within a body, the connection is closed and the fill resumed.
#[test]
fn a_stalled_upstream_is_asked_again() {
    let blob = Blob::noise(9, 4 * MB);
    let (upstream, server) = mirrored(&blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Stall(2 * MB as u64)).times(1));
    let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(100)).send();
    assert_eq!(response.summary().digest, blob.digest);
}
