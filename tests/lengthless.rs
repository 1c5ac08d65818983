//! Upstreams that do not say how long what they send is: the manifest told, and the digest decides.

use crate::support::{
    images::{Blob, Format, Image},
    server::Server,
    upstream::{Cut, Fault, Kind, Rule, Upstream},
};

const REPOSITORY: &str = "library/lengthless";

/// An upstream whose every body is chunked, which knows no ranges, and an image of it.
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

/// Nothing but the manifest says how long its blobs are.
#[test]
fn the_manifest_tells_a_blobs_size() {
    let (upstream, image, server) = lengthless(1100);
    server.pull(REPOSITORY, "latest", &image);
    let asked = upstream.requests().len();
    let response = server.blob(REPOSITORY, &image.layer().digest).send();
    assert_eq!((response.status, response.length()), (200, Some(image.layer().len() as u64)));
    assert_eq!(response.summary().digest, image.layer().digest);
    assert_eq!(upstream.requests().len(), asked, "it is kept");
}

/// A body without a length that is cut is gone on with.
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

/// Whatever comes without a length, wrong bytes are never a whole answer.
#[test]
fn a_corrupt_body_without_a_length_is_no_whole_one() {
    let (upstream, image, server) = lengthless(1102);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(5_000_000)));
    assert_eq!(server.manifest(REPOSITORY, "latest").send().status, 200);
    let response = server.blob(REPOSITORY, &image.layer().digest).send();
    assert!(response.status != 200 || response.summary().length < image.layer().len() as u64);
}
