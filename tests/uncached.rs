//! Content that the disk cannot take, because pushes fill the quota, or just after a kill: it costs its upstream no
//! more than necessary, and no response says that it was stored.

use std::thread;

use crate::{
    support::{
        http,
        images::{Blob, Format, Image},
        server::{Server, Setup},
        upstream::{Cut, Fault, Kind, Rule, Upstream},
    },
    tags::{REPOSITORY, STALE, cache_status, upstream_with},
};

/// A mirror that cannot store anything.
fn refusing(upstream: &Upstream) -> Server {
    Setup::mirroring(&upstream.url()).freshness("1s").variable("REGISTRY_STORAGE_MAXOBJECT", "1KB").start()
}

/// Manifests are served from memory, by tag and by digest, and each pull fetches each blob once.
#[test]
fn a_manifest_that_the_disk_refuses_is_fetched_once() {
    const PULLS: usize = 5;
    let image = Image::index(Format::Oci, 110, 300_000);
    let upstream = upstream_with(&image);
    let server = refusing(&upstream);
    for _ in 0..PULLS {
        server.pull(REPOSITORY, "latest", &image);
        server.pull(REPOSITORY, image.digest(), &image);
    }
    assert_eq!(upstream.counted(), 1 + image.children.len());
    assert_eq!(upstream.count("GET", Kind::Blob), 2 * PULLS * image.blobs.len());
    let fresh: Vec<_> = ["latest", image.digest(), &image.children[0].digest]
        .map(|reference| server.manifest(REPOSITORY, reference).send())
        .iter()
        .map(|response| cache_status(response).to_owned())
        .collect();
    // On a busy machine the tag may be stale already.
    assert!(fresh[0] == "; hit" || fresh[0].contains("revalidated"), "{}", fresh[0]);
    assert_eq!(fresh[1..], ["; hit"; 2]);
    for blob in &image.blobs {
        let head = http::head(&server.v2(&format!("{REPOSITORY}/blobs/{}?ns=docker.io", blob.digest))).send();
        assert_eq!((head.status, head.header("content-length")), (200, Some(blob.len().to_string().as_str())));
    }
    assert_eq!(upstream.count("HEAD", Kind::Blob), 0, "the manifest says how long they are");
    // The tag has not moved: one HEAD, and no counted request.
    thread::sleep(STALE);
    assert!(cache_status(&server.manifest(REPOSITORY, "latest").send()).contains("revalidated"));
    assert_eq!(upstream.counted(), 1 + image.children.len());
    for fault in [Fault::Status(429), Fault::Status(503), Fault::CutAfter(0, Cut::Rst)] {
        thread::sleep(STALE);
        upstream.fault(Rule::on(Kind::Manifest, fault));
        let response = server.manifest(REPOSITORY, "latest").send();
        assert!(cache_status(&response).contains("fwd=stale"), "{}", cache_status(&response));
        assert_eq!(response.summary().digest, image.digest());
        upstream.heal();
    }
}

/// A manifest in memory is served only for the repository that it was fetched for.
#[test]
fn a_manifest_in_memory_is_not_everybodys() {
    let image = Image::single(Format::Oci, 111);
    let upstream = upstream_with(&image);
    let server = refusing(&upstream);
    server.pull(REPOSITORY, "latest", &image);
    assert_eq!(server.manifest("library/other", image.digest()).send().status, 404);
    assert_eq!(server.blob("library/other", &image.config).send().status, 404);
}

/// RFC 9211: `stored` is set only for stored content.
#[test]
fn cache_status_names_what_is_not_stored() {
    let image = Image::index(Format::Oci, 112, 300_000);
    let upstream = upstream_with(&image);
    let server = refusing(&upstream);
    let status = |response: &http::Response| cache_status(response).to_owned();
    let head = http::head(&server.v2(&format!("{REPOSITORY}/manifests/latest"))).send();
    assert_eq!(status(&head), "; fwd=miss");
    for response in [
        server.manifest(REPOSITORY, "latest").send(),
        server.manifest(REPOSITORY, &image.children[0].digest).send(),
        server.blob(REPOSITORY, &image.layer().digest).send(),
        server.blob(REPOSITORY, &image.config).send(),
    ] {
        assert_eq!(status(&response), "; fwd=miss; detail=no-space");
        response.summary();
    }
    let keeping = Server::mirroring(&upstream);
    let blob = http::head(&keeping.v2(&format!("{REPOSITORY}/blobs/{}?ns=docker.io", image.layer().digest))).send();
    assert_eq!(status(&blob), "; fwd=miss");
    let manifest = http::head(&keeping.v2(&format!("{REPOSITORY}/manifests/{}", image.digest()))).send();
    assert_eq!(status(&manifest), "; fwd=miss");
    for response in [
        keeping.manifest(REPOSITORY, "latest").send(),
        keeping.blob(REPOSITORY, &image.layer().digest).send(),
        http::get(&keeping.v2(&format!("{REPOSITORY}/tags/list"))).send(),
    ] {
        assert_eq!(status(&response), "; fwd=miss; stored");
        response.summary();
    }
}

/// The upstream named a newer image that was never fetched, and is gone: the one before is served, marked as stale.
#[test]
fn an_image_that_was_superseded_is_served_as_such() {
    let (old, new) = (Image::single(Format::Oci, 113), Image::single(Format::Oci, 114));
    let upstream = upstream_with(&old);
    let server = Setup::mirroring(&upstream.url()).freshness("1s").start();
    server.pull(REPOSITORY, "latest", &old);
    thread::sleep(STALE);
    upstream.add(REPOSITORY, "latest", &new);
    let head = || http::head(&server.v2(&format!("{REPOSITORY}/manifests/latest"))).send();
    assert_eq!(head().header("docker-content-digest"), Some(new.digest()));
    upstream.stop();
    let served = server.manifest(REPOSITORY, "latest").send();
    assert_eq!((served.status, cache_status(&served)), (200, "; fwd=stale; detail=newer-not-cached"));
    assert_eq!(served.summary().digest, old.digest());
    assert_eq!(cache_status(&head()), "; fwd=stale; detail=newer-not-cached");
}

/// While nothing was sent, a client gets a status that says what happened, not a closed connection.
#[test]
fn a_corrupt_small_blob_is_a_bad_gateway() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(4_711, 20_000));
    upstream.add_blob("library/app", &blob);
    upstream.fault(Rule::on(Kind::Blob, Fault::Corrupt(5)));
    let server = refusing(&upstream);
    for _ in 0..5 {
        assert_eq!(server.blob("library/app", &blob.digest).send().status, 502);
    }
    upstream.heal();
    assert_eq!(server.blob("library/app", &blob.digest).send().summary().digest, blob.digest);
}
