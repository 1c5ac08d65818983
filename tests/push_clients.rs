//! docker, podman, skopeo, buildah and ctr push an image, remove it locally, and pull it again.

use std::sync::LazyLock;

use crate::support::{
    clients::{self, Pulled, Start, What},
    egress_trap::EgressTrap,
    hash::Hasher,
    http::BodyEnd,
    images::{Blob, Format, Image},
    rounds,
    server::{Server, Setup},
    uploads::OCTETS,
    upstream::Upstream,
};

/// With a layer of 200 MB.
static IMAGE: LazyLock<Image> = LazyLock::new(|| Image::of_size(Format::Oci, 200, 200_000_000));

/// The same digests go in and come out, at the client and on the wire.
fn pushes_and_pulls(start: Start) {
    let (server, trap) = (Setup::hosting().start(), EgressTrap::new());
    let client = start("http://127.0.0.1:1", &trap);
    let name = format!("{}/team/app:1", server.target().authority());
    let digest = client.push(What::Own(&IMAGE), &name);
    is_whole(&server, "team/app", &digest, &IMAGE.config);
    let wanted = Pulled { digest, config: IMAGE.config.clone() };
    assert_eq!(client.pull_from(&name), wanted, "{}", client.name());
}

/// The tag points to this digest, and all its blobs are there and right.
fn is_whole(server: &Server, repository: &str, digest: &str, config: &str) {
    let manifest = server.manifest(repository, "1").send();
    assert_eq!((manifest.status, manifest.header("docker-content-digest")), (200, Some(digest)));
    let manifest = manifest.json();
    assert_eq!(manifest["config"]["digest"], config);
    for descriptor in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let blob = descriptor["digest"].as_str().unwrap();
        let response = server.blob(repository, blob).send();
        assert_eq!((response.status, response.summary().digest.as_str()), (200, blob));
    }
}

#[test]
fn docker_pushes() {
    pushes_and_pulls(clients::docker);
}

#[test]
fn ctr_pushes() {
    pushes_and_pulls(clients::containerd);
}

#[test]
fn podman_pushes() {
    pushes_and_pulls(clients::podman);
}

#[test]
fn buildah_pushes() {
    pushes_and_pulls(clients::buildah);
}

#[test]
fn skopeo_pushes() {
    pushes_and_pulls(clients::skopeo);
}

/// An image that is pulled through the mirror, renamed and pushed here is hosted from then on.
#[test]
fn a_mirrored_image_that_is_pushed_is_hosted() {
    for start in [clients::docker, clients::containerd, clients::podman, clients::buildah, clients::skopeo] {
        outlives_the_mirror(start);
    }
}

/// Pulled through the mirror, renamed and pushed back: it is there after all mirrored content is gone.
fn outlives_the_mirror(start: Start) {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Docker, 201, 3_000_000));
    upstream.add("library/base", "1", &image);
    let (mut server, trap) = (Setup::both(&upstream.url()).start(), EgressTrap::new());
    let client = start(server.url(), &trap);
    let digest = client.push(What::Pulled("library/base:1"), &format!("{}/team/app:1", server.target().authority()));
    assert!(server.data().join("mirrors").is_dir(), "it came through the mirror");
    forget_what_is_mirrored(&mut server, &upstream, &image);
    is_whole(&server, "team/app", &digest, &image.config);
    let wanted = Pulled { digest, config: image.config.clone() };
    assert_eq!(client.pull_from(&format!("{}/team/app:1", server.target().authority())), wanted, "{}", client.name());
}

/// The state after an eviction: no mirrored link, no upstream, no memory of either.
fn forget_what_is_mirrored(server: &mut Server, upstream: &Upstream, image: &Image) {
    server.stop();
    upstream.stop();
    for gone in ["mirrors", "index"] {
        std::fs::remove_dir_all(server.data().join(gone)).unwrap();
    }
    server.restart();
    assert_ne!(server.blob("library/base", &image.layer().digest).send().status, 200, "the mirrored copy is gone");
}

/// The same without an upload: mounted from the mirrored repository, it is promoted.
#[test]
fn a_mirrored_blob_that_is_mounted_is_hosted() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 202, 2_000_000));
    upstream.add("library/base", "1", &image);
    let mut server = Setup::both(&upstream.url()).start();
    let target = server.target();
    server.pull("library/base", "1", &image);
    for blob in &image.blobs {
        assert_eq!(target.head(&format!("team/app/blobs/{}", blob.digest)), 404, "not ours so far");
        assert_eq!(target.mount("team/app", &blob.digest, Some("library/base")).status, 201);
    }
    assert_eq!(target.manifest("team/app", "1", &image.top).status, 201);
    forget_what_is_mirrored(&mut server, &upstream, &image);
    server.pull("team/app", "1", &image);
}

/// docker mounts blobs that it knows to be on the registry that it pushes to. So an image whose base was pulled by this
/// registry's own name, through the mirror, uploads nothing of the base.
#[test]
fn docker_uploads_no_base_that_it_pulled_by_this_registrys_name() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Docker, 203, 3_000_000));
    upstream.add("library/base", "1", &image);
    let (server, trap) = (Setup::both(&upstream.url()).start(), EgressTrap::new());
    let (client, target) = (clients::docker(server.url(), &trap), server.target());
    let base = format!("{}/library/base:1", target.authority());
    let digest = client.push(What::Pulled(&base), &format!("{}/team/app:1", target.authority()));
    is_whole(&server, "team/app", &digest, &image.config);
    let layers = server.manifest("team/app", "1").send().json()["layers"].clone();
    assert_eq!(layers[0]["digest"], image.layer().digest, "not compressed anew, and stored once");
}

/// A layer of 5 GiB by plain HTTP, in one PATCH and back: the server's memory stays below 100 MiB.
#[test]
fn a_layer_of_gibibytes_takes_no_memory() {
    let (server, piece) = (Setup::hosting().start(), Blob::noise(5, 1 << 20));
    let mebibytes = rounds(5 * 1024);
    let mut hasher = Hasher::default();
    let mut session = server.target().begin("team/large");
    let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(None);
    for number in 0..mebibytes {
        let mut bytes = piece.bytes.to_vec();
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        hasher.update(&bytes);
        patch.write(&bytes).unwrap();
    }
    let patch = patch.finish().unwrap();
    assert_eq!(patch.status, 202);
    session.moved(&patch);
    let digest = hasher.finish();
    assert_eq!(session.put(&digest, b"").status, 201);
    let got = server.blob("team/large", &digest).send().summary();
    assert_eq!((got.end, got.length, got.digest), (BodyEnd::Complete, (mebibytes as u64) << 20, digest));
    let peak = server.peak_memory();
    assert!(peak < 100 << 20, "{peak} bytes");
}
