//! Upstreams that send no length: the manifest gives the size, and the digest decides.

use std::time::Duration;

use crate::support::{
    http,
    images::{Blob, Format, Image},
    server::{Server, Setup},
    upstream::{Cut, Fault, Kind, Rule, Upstream},
    volume_check::VolumeCheck,
};

const REPOSITORY: &str = "library/lengthless";

/// An upstream that sends only chunked bodies, without ranges, and an image of it.
fn lengthless(seed: u64) -> (Upstream, Image, Server) {
    let (upstream, layer) = (Upstream::plain(), Blob::noise(seed, 6_000_000));
    let image = Image::of_layers(Format::Oci, &[layer]);
    upstream.add(REPOSITORY, "latest", &image);
    upstream.options(|options| options.ignores_ranges = true);
    upstream.fault(Rule::on(Kind::Blob, Fault::Chunked));
    upstream.fault(Rule::on(Kind::Manifest, Fault::Chunked));
    let server = Server::mirroring(&upstream);
    (upstream, image, server)
}

/// Only the manifest gives the size of its blobs.
#[test]
fn a_blobs_size_comes_from_the_manifest() {
    let (upstream, image, server) = lengthless(1100);
    server.pull(REPOSITORY, "latest", &image);
    let asked = upstream.requests().len();
    let requests = (upstream.count("HEAD", Kind::Blob), upstream.count("GET", Kind::Blob));
    assert_eq!(requests, (0, image.blobs.len()), "nothing is asked for a size");
    let response = server.blob(REPOSITORY, &image.layer().digest).send();
    assert_eq!((response.status, response.length()), (200, Some(image.layer().len() as u64)));
    assert_eq!(response.summary().digest, image.layer().digest);
    assert_eq!(upstream.requests().len(), asked, "it is kept");
}

/// A body without a length that is cut is resumed.
#[test]
fn a_cut_without_a_length_is_resumed() {
    for how in [Cut::Fin, Cut::Rst] {
        let (upstream, image, server) = lengthless(1101);
        upstream.options(|options| options.ignores_ranges = false);
        upstream.fault(
            Rule::on(Kind::Blob, Fault::CutAfter(2_000_000, how)).method("GET").path(&image.layer().digest).times(2),
        );
        server.pull(REPOSITORY, "latest", &image);
        let sent = upstream.sent(Kind::Blob);
        assert!(sent <= image.layer().len() as u64 * 11 / 10, "{sent} bytes, {how:?}");
    }
}

/// Without a length, wrong bytes are never a complete response.
#[test]
fn a_corrupt_body_without_a_length_is_no_whole_one() {
    let (upstream, image, server) = lengthless(1102);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(5_000_000)));
    assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 200);
    let response = server.blob(REPOSITORY, &image.layer().digest).send();
    assert!(response.status != 200 || response.summary().length < image.layer().len() as u64);
}

/// An upstream that ends every body by closing its connection, without ranges.
fn until_close() -> (Upstream, Server) {
    let upstream = Upstream::plain();
    upstream.options(|options| options.ignores_ranges = true);
    upstream.fault(Rule::on_all(Fault::UntilClose));
    let server = Server::mirroring(&upstream);
    (upstream, server)
}

/// HTTP/1.1 without a length or chunks (RFC 9112, section 6.3): the end of the connection is the end of the body.
#[test]
fn a_body_that_ends_with_its_connection_is_read() {
    let (upstream, server) = until_close();
    let image = Image::of_layers(Format::Oci, &[Blob::noise(1103, 6_000_000)]);
    upstream.add(REPOSITORY, "latest", &image);
    server.pull(REPOSITORY, "latest", &image);
    let asked = upstream.requests().len();
    server.pull(REPOSITORY, "latest", &image);
    assert_eq!(upstream.requests().len(), asked, "it is kept");
}

/// An early end is detected if the manifest gives the size.
#[test]
fn a_body_that_ends_early_with_its_connection_is_resumed() {
    for ignores_ranges in [false, true] {
        let (upstream, server) = until_close();
        upstream.options(|options| options.ignores_ranges = ignores_ranges);
        let image = Image::of_layers(Format::Oci, &[Blob::noise(1104, 6_000_000)]);
        upstream.add(REPOSITORY, "latest", &image);
        let cut = Fault::CutAfter(2_000_000, Cut::Fin);
        upstream.fault(Rule::on(Kind::Blob, cut).method("GET").path(&image.layer().digest).times(1));
        server.pull(REPOSITORY, "latest", &image);
    }
}

/// If the size of a blob is unknown, its digest determines its end.
#[test]
fn a_blob_of_unknown_size_is_fetched_by_its_digest() {
    for (seed, length) in [(1105, 6_000_000), (1106, 40_000_000), (1107, 100), (1108, 0)] {
        for fault in [Fault::UntilClose, Fault::Chunked] {
            let (upstream, server) = until_close();
            upstream.heal();
            upstream.fault(Rule::on(Kind::Blob, fault));
            let blob = Blob::noise(seed, length);
            upstream.add_blob(REPOSITORY, &blob);
            let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send();
            assert_eq!((response.status, response.length()), (200, Some(blob.len() as u64)));
            assert_eq!(response.summary().digest, blob.digest);
            let asked = upstream.requests().len();
            assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest);
            assert_eq!(upstream.requests().len(), asked, "it is kept");
            let mut checker = VolumeCheck::new(server.data());
            assert!(checker.has_blob(&blob.digest));
            checker.has_no_leftovers();
        }
    }
}

/// A range of a blob of unknown size is answered when the whole blob is here.
#[test]
fn a_range_of_a_blob_of_unknown_size() {
    let (upstream, server) = until_close();
    let blob = Blob::noise(1109, 3_000_000);
    upstream.add_blob(REPOSITORY, &blob);
    let url = server.v2(&format!("{REPOSITORY}/blobs/{}", blob.digest));
    let response = http::get(&url).header("Range", "bytes=1000-1999").patience(Duration::from_secs(60)).send();
    assert_eq!((response.status, response.length()), (206, Some(1000)));
    assert_eq!(response.header("content-range"), Some("bytes 1000-1999/3000000"));
}

/// The digest detects a cut body, which is resumed; one that stays cut or has wrong bytes is an error.
#[test]
fn a_cut_body_of_unknown_size_is_resumed_or_refused() {
    for ignores_ranges in [false, true] {
        for how in [Cut::Fin, Cut::Rst] {
            let (upstream, server) = until_close();
            upstream.options(|options| options.ignores_ranges = ignores_ranges);
            // The head of a range response would give the size.
            upstream.fault(Rule::on(Kind::Blob, Fault::Status(405)).method("HEAD"));
            let blob = Blob::noise(1110, 3_000_000);
            upstream.add_blob(REPOSITORY, &blob);
            upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(1_000_000, how)).method("GET").times(1));
            let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send();
            assert_eq!(response.status, 200, "{how:?}");
            assert_eq!(response.summary().digest, blob.digest, "{how:?}");
        }
    }
    for fault in [Fault::CutAfter(1_000_000, Cut::Fin), Fault::Corrupt(500_000)] {
        let (upstream, server) = until_close();
        let blob = Blob::noise(1111, 3_000_000);
        upstream.add_blob(REPOSITORY, &blob);
        upstream.fault(Rule::on(Kind::Blob, fault));
        let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send();
        assert_eq!(response.status, 502);
        let sent = upstream.sent(Kind::Blob);
        assert!(sent <= blob.len() as u64 * 4, "{sent} bytes for {}", blob.len());
        upstream.heal();
        assert_eq!(server.blob(REPOSITORY, &blob.digest).send().summary().digest, blob.digest, "nothing wrong is kept");
    }
}

/// The disk takes no blob beyond the size limit, even if its size is unknown.
#[test]
fn a_blob_of_unknown_size_is_limited() {
    let (upstream, _) = until_close();
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_STORAGE_MAXOBJECT", "20MB").start();
    let blob = Blob::noise(1112, 60_000_000);
    upstream.add_blob(REPOSITORY, &blob);
    let response = server.blob(REPOSITORY, &blob.digest).patience(Duration::from_secs(60)).send();
    assert_eq!(response.status, 502);
}
