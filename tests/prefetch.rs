//! Prefetching: the first request for a layer begins to fetch the image's other layers, once, and nobody waits for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    images::{Blob, Format, Image, Manifest},
    server::{Server, Setup},
    upstream::{Fault, Kind, Rule, Upstream},
    wait_until,
};

const NAME: &str = "org/app";
const LIMIT: Duration = Duration::from_secs(20);

fn layers(seed: u64, number: u64, length: usize) -> Vec<Blob> {
    (0..number).map(|layer| Blob::noise(seed + layer, length)).collect()
}

fn fetched(upstream: &Upstream, blob: &Blob) -> usize {
    let of = |path: &str| path.ends_with(&format!("/blobs/{}", blob.digest));
    upstream.requests().iter().filter(|seen| seen.request.method == "GET" && of(&seen.request.path)).count()
}

fn is_stored(server: &Server, blob: &Blob) -> bool {
    let hex = blob.digest.strip_prefix("sha256:").unwrap();
    server.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).exists()
}

fn ask(server: &Server, blob: &Blob) {
    let response = server.blob(NAME, &blob.digest).send();
    assert_eq!((response.status, response.summary().digest.as_str()), (200, blob.digest.as_str()));
}

/// After the manifest and one layer were requested, all layers come; each is fetched once, also when clients ask for
/// them meanwhile.
#[test]
fn the_first_layer_brings_the_others() {
    let (upstream, layers) = (Upstream::plain(), layers(1600, 12, 200_000));
    let image = Image::of_layers(Format::Oci, &layers);
    upstream.add(NAME, "1", &image);
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(400_000)));
    let server = Server::mirroring(&upstream);
    assert_eq!(server.manifest(NAME, "1").send().status, 200);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(upstream.count("GET", Kind::Blob), 0, "a manifest alone brings nothing");
    ask(&server, &layers[4]);
    wait_until("a second layer", LIMIT, || layers.iter().filter(|layer| fetched(&upstream, layer) > 0).count() > 1);
    thread::scope(|scope| layers.iter().for_each(|layer| drop(scope.spawn(|| ask(&server, layer)))));
    wait_until("all layers", LIMIT, || layers.iter().all(|layer| is_stored(&server, layer)));
    for layer in &layers {
        assert_eq!(fetched(&upstream, layer), 1);
    }
    let requested: u64 = layers.iter().map(Blob::len).sum::<usize>() as u64;
    assert_eq!(upstream.sent(Kind::Blob), requested, "the config was not asked for");
}

/// A client that asks for the manifests and configs of all platforms, as containerd 2.1 does, gets the layers of its
/// own platform fetched, and no other's.
#[test]
fn another_platforms_layers_stay_away() {
    let upstream = Upstream::plain();
    let (own, other) = (layers(1620, 3, 100_000), layers(1630, 3, 100_000));
    let platforms = [Image::of_layers(Format::Oci, &own), Image::of_layers(Format::Oci, &other)];
    let manifests: Vec<_> = platforms.iter().map(|image| image.top.descriptor()).collect();
    let body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": manifests });
    let [first, second] = platforms;
    let image = Image {
        top: Manifest::new(Format::Oci.index(), &body),
        children: vec![first.top.clone(), second.top.clone()],
        blobs: [first.blobs.clone(), second.blobs].concat(),
        ..first
    };
    upstream.add(NAME, "1", &image);
    let server = Server::mirroring(&upstream);
    assert_eq!(server.manifest(NAME, "1").send().status, 200);
    for manifest in &image.children {
        assert_eq!(server.manifest(NAME, &manifest.digest).send().status, 200);
    }
    for config in image.blobs.iter().filter(|blob| !own.contains(blob) && !other.contains(blob)) {
        ask(&server, config);
    }
    assert_eq!(upstream.count("GET", Kind::Blob), 2, "a config brings no layer");
    ask(&server, &own[0]);
    wait_until("its layers", LIMIT, || own.iter().all(|layer| is_stored(&server, layer)));
    thread::sleep(Duration::from_millis(300));
    for layer in &other {
        assert_eq!((fetched(&upstream, layer), is_stored(&server, layer)), (0, false));
    }
}

/// Prefetches that hang keep no client waiting, and are bounded.
#[test]
fn no_request_waits_for_a_prefetch() {
    let (upstream, slow, quick) = (Upstream::plain(), layers(1640, 20, 100_000), layers(1670, 1, 100_000));
    upstream.add(NAME, "slow", &Image::of_layers(Format::Oci, &slow));
    upstream.add(NAME, "quick", &Image::of_layers(Format::Oci, &quick));
    for layer in &slow[1..] {
        upstream.fault(Rule::on(Kind::Blob, Fault::Stall(1000)).path(&layer.digest));
    }
    let server = Server::mirroring(&upstream);
    assert_eq!(server.manifest(NAME, "slow").send().status, 200);
    ask(&server, &slow[0]);
    let hanging = || slow[1..].iter().filter(|layer| fetched(&upstream, layer) > 0).count();
    wait_until("the prefetches", LIMIT, || hanging() == 8);
    let began = Instant::now();
    assert_eq!(server.manifest(NAME, "quick").send().status, 200);
    ask(&server, &quick[0]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(hanging(), 8, "no more than eight at once");
}

/// `proxy.prefetch: false`: what a client asks for is fetched, and nothing else.
#[test]
fn it_can_be_turned_off() {
    let (upstream, layers) = (Upstream::plain(), layers(1690, 4, 50_000));
    upstream.add(NAME, "1", &Image::of_layers(Format::Oci, &layers));
    let server = Setup::mirroring(&upstream.url()).variable("REGISTRY_PROXY_PREFETCH", "false").start();
    assert_eq!(server.manifest(NAME, "1").send().status, 200);
    ask(&server, &layers[0]);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(upstream.count("GET", Kind::Blob), 1);
}
