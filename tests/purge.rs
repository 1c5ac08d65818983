//! `entrepot purge`: the next request asks the upstream on every path, what others hold stays, and the figures are
//! those of `entrepot du`.

use std::{path::Path, thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    http,
    images::{Blob, Format, Image},
    process::CommandResult,
    server::{Server, Setup, entrepot},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
    volume_check::VolumeCheck,
    wait_until,
};

const NGINX: &str = "library/nginx";

fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).hosted("[team/**]").freshness("1h").variable("REGISTRY_GC_INTERVAL", "0")
}

fn run(data: &Path, arguments: &[&str]) -> CommandResult {
    entrepot(&[arguments, &["--data", data.to_str().unwrap()]].concat(), &[])
}

/// The lines of JSON that a command writes.
fn lines(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let outcome = run(data, &[arguments, &["--json"]].concat()).expect_success(&arguments.join(" "));
    outcome.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The end of a purge.
fn purge(data: &Path, arguments: &[&str]) -> Value {
    lines(data, &[&["purge"], arguments].concat()).pop().unwrap()
}

/// The whole usage report.
fn usage(data: &Path) -> Value {
    let outcome = run(data, &["du", "--tags", "--json"]).expect_success("du");
    serde_json::from_str(&outcome.output).unwrap()
}

/// The bytes of all mirrored blobs.
fn mirrored(data: &Path) -> u64 {
    let sources = usage(data)["sources"].as_array().unwrap().clone();
    sources.iter().filter(|source| source["class"] == "mirrored").map(|source| source["size"].as_u64().unwrap()).sum()
}

/// The bytes that only this tag holds.
fn exclusive(data: &Path, repository: &str, tag: &str) -> u64 {
    let sources = usage(data)["sources"].as_array().unwrap().clone();
    let repositories = sources.iter().flat_map(|source| source["repositories"].as_array().unwrap());
    let found =
        repositories.filter(|entry| entry["name"] == repository).flat_map(|entry| entry["tags"].as_array().unwrap());
    found.filter(|entry| entry["tag"] == tag).map(|entry| entry["exclusive"].as_u64().unwrap()).next().unwrap()
}

fn asked(upstream: &Upstream, kind: Kind) -> usize {
    upstream.count("GET", kind) + upstream.count("HEAD", kind)
}

/// A request of every kind asks the upstream now.
fn asks_for_everything(server: &Server, upstream: &Upstream, image: &Image) {
    let before = asked(upstream, Kind::Manifest);
    assert_eq!(server.manifest(NGINX, image.digest()).send().summary().digest, image.digest());
    assert!(asked(upstream, Kind::Manifest) > before, "by digest");
    let before = asked(upstream, Kind::Manifest);
    assert_eq!(server.manifest(NGINX, "1").send().summary().digest, image.digest());
    assert!(asked(upstream, Kind::Manifest) > before, "by tag");
    for blob in &image.blobs {
        let before = asked(upstream, Kind::Blob);
        assert_eq!(server.blob(NGINX, &blob.digest).send().summary().digest, blob.digest);
        assert!(asked(upstream, Kind::Blob) > before, "a blob");
    }
}

#[test]
fn the_next_request_asks_the_upstream_on_every_path() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 94_000, 300_000));
    upstream.add(NGINX, "1", &image);
    let mut server = both(&upstream).variable("REGISTRY_PROXY_PREFETCH", "false").start();
    let data = server.data().to_owned();
    for round in 0..4 {
        server.pull(NGINX, "1", &image);
        let cached = asked(&upstream, Kind::Manifest) + asked(&upstream, Kind::Blob);
        server.pull(NGINX, "1", &image);
        assert_eq!(asked(&upstream, Kind::Manifest) + asked(&upstream, Kind::Blob), cached, "all of it is cached");
        let ended = purge(&data, &["nginx:1"]);
        assert_eq!(ended["tags"], 1, "{ended}");
        assert_eq!(mirrored(&data), 0);
        match round {
            1 => server.restart(),
            2 => {
                server.stop();
                server.restart()
            }
            _ => Duration::ZERO,
        };
        let before = asked(&upstream, Kind::Manifest);
        assert_eq!(http::head(&server.v2("library/nginx/manifests/1")).send().status, 200);
        assert!(asked(&upstream, Kind::Manifest) > before, "HEAD of the tag");
        purge(&data, &["nginx:1"]);
        asks_for_everything(&server, &upstream, &image);
    }
    upstream.stop();
    purge(&data, &["nginx:1"]);
    assert_ne!(server.manifest(NGINX, "1").send().status, 200, "nothing is left to serve");
    assert_ne!(server.manifest(NGINX, image.digest()).send().status, 200);
    server.stop();
    VolumeCheck::new(&data).is_whole();
}

/// Content that another tag, another repository or a push holds stays, and a dry run has the same figures.
#[test]
fn bytes_that_others_share_stay_and_figures_equal_du() {
    let (upstream, base) = (Upstream::plain(), Blob::noise(94_100, 400_000));
    let image = |seed: u64| Image::of_layers(Format::Oci, &[base.clone(), Blob::noise(seed, 60_000)]);
    let (one, two, other) = (image(94_101), image(94_102), image(94_103));
    upstream.add(NGINX, "1", &one);
    upstream.add(NGINX, "latest", &one);
    upstream.add(NGINX, "2", &two);
    upstream.add("library/other", "1", &other);
    let mut server = both(&upstream).start();
    let data = server.data().to_owned();
    for (repository, tag, image) in
        [(NGINX, "1", &one), (NGINX, "latest", &one), (NGINX, "2", &two), ("library/other", "1", &other)]
    {
        server.pull(repository, tag, image);
    }
    let alias = purge(&data, &["nginx:latest"]);
    assert_eq!((&alias["tags"], &alias["bytes"]), (&json!(1), &json!(0)), "the other tag holds all of it");
    server.pull(NGINX, "1", &one);
    let (wanted, before) = (exclusive(&data, NGINX, "1"), mirrored(&data));
    let dry = lines(&data, &["purge", "nginx:1", "--dry-run"]);
    assert_eq!((&dry[1]["bytes"], &dry[1]["dry_run"]), (&json!(wanted), &json!(true)));
    assert_eq!(mirrored(&data), before, "a dry run removes nothing");
    let real = lines(&data, &["purge", "nginx:1"]);
    assert_eq!(real[0], dry[0], "the run is what the dry run said");
    assert_eq!(real[1]["bytes"], wanted);
    assert_eq!(mirrored(&data), before - wanted, "and what du says");
    server.target().image("team/app", "1", &other);
    let before = mirrored(&data);
    upstream.stop();
    server.pull(NGINX, "2", &two);
    server.pull("library/other", "1", &other);
    let whole = purge(&data, &["library/*"]);
    assert!(whole["bytes"].as_u64().unwrap() > 0 && mirrored(&data) == 0, "{whole} of {before}");
    server.pull("team/app", "1", &other);
    // The same without a server.
    upstream.resume();
    server.pull(NGINX, "2", &two);
    let wanted = exclusive(&data, NGINX, "2");
    server.stop();
    assert_eq!(purge(&data, &["nginx:2", "--dry-run"])["bytes"], wanted);
    assert_eq!(purge(&data, &["nginx:2"])["bytes"], wanted);
    assert_eq!(mirrored(&data), 0);
    VolumeCheck::new(&data).is_whole();
    server.restart();
    server.pull(NGINX, "2", &two);
    server.pull("team/app", "1", &other);
}

/// One platform of an index goes by its digest; the others stay.
#[test]
fn a_manifest_goes_by_its_digest() {
    let (upstream, index) = (Upstream::plain(), Image::index(Format::Oci, 94_200, 50_000));
    upstream.add("library/many", "1", &index);
    let server = both(&upstream).start();
    server.pull("library/many", "1", &index);
    let child = &index.children[0].digest;
    purge(server.data(), &[&format!("many@{child}")]);
    let before = asked(&upstream, Kind::Manifest);
    assert_eq!(server.manifest("library/many", "1").send().status, 200);
    for other in &index.children[1..] {
        assert_eq!(server.manifest("library/many", &other.digest).send().status, 200);
    }
    assert_eq!(asked(&upstream, Kind::Manifest), before, "the rest is cached");
    assert_eq!(server.manifest("library/many", child).send().summary().digest, *child);
    assert!(asked(&upstream, Kind::Manifest) > before);
    purge(server.data(), &["many:1"]);
    assert_eq!(mirrored(server.data()), 0, "nothing of the index is left");
}

/// A client that reads a cached layer, and one that follows a fill, get all of it; then it is gone.
#[test]
fn a_pull_under_way_ends_whole() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 94_300, 30_000_000));
    upstream.add(NGINX, "1", &image);
    let server = both(&upstream).start();
    let layer = image.blobs.iter().max_by_key(|blob| blob.bytes.len()).unwrap();
    server.pull(NGINX, "1", &image);
    let mut reading = server.blob(NGINX, &layer.digest).window(4096).send();
    let begin = reading.exactly(100_000);
    purge(server.data(), &["nginx:1"]);
    assert!(begin == layer.bytes[..100_000]);
    assert!(reading.exactly(layer.bytes.len() - 100_000) == layer.bytes[100_000..], "the reader gets the rest");
    drop(reading);
    wait_until("the bytes to go", Duration::from_secs(20), || mirrored(server.data()) == 0);
    // A fill under way.
    let gate = Gate::new();
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(1000, gate.clone())).path(&layer.digest).times(1));
    assert_eq!(server.manifest(NGINX, "1").send().status, 200);
    thread::scope(|scope| {
        let following = scope.spawn(|| server.blob(NGINX, &layer.digest).send().summary().digest);
        let wanted = |upstream: &Upstream| {
            upstream.requests().iter().any(|request| request.request.path.contains(&layer.digest))
        };
        wait_until("the fill", Duration::from_secs(20), || wanted(&upstream));
        purge(server.data(), &["nginx:1"]);
        gate.open();
        assert_eq!(following.join().unwrap(), layer.digest);
    });
    let before = asked(&upstream, Kind::Manifest);
    assert_eq!(server.manifest(NGINX, "1").send().status, 200);
    assert!(asked(&upstream, Kind::Manifest) > before, "the tag is asked for again");
}

/// The answer to a request of before the purge does not bring the tag back, and the next request does not join it.
#[test]
fn a_request_of_before_does_not_bring_the_tag_back() {
    let (upstream, old, new) =
        (Upstream::plain(), Image::single(Format::Oci, 94_400), Image::single(Format::Oci, 94_401));
    upstream.add(NGINX, "1", &old);
    let server = both(&upstream).freshness("1h").start();
    server.pull(NGINX, "1", &old);
    purge(server.data(), &["nginx:1"]);
    let (gate, before) = (Gate::new(), asked(&upstream, Kind::Manifest));
    upstream.fault(Rule::on(Kind::Manifest, Fault::Gate(1, gate.clone())).times(1));
    thread::scope(|scope| {
        let early = scope.spawn(|| server.manifest(NGINX, "1").send().status);
        wait_until("the early request", Duration::from_secs(20), || asked(&upstream, Kind::Manifest) > before);
        purge(server.data(), &["nginx:1"]);
        upstream.replace(NGINX, "1", &new);
        assert_eq!(server.manifest(NGINX, "1").send().summary().digest, new.digest(), "it asks anew");
        gate.open();
        assert_eq!(early.join().unwrap(), 200);
    });
    assert_eq!(server.manifest(NGINX, "1").send().summary().digest, new.digest());
}

#[test]
fn what_cannot_be_purged_is_refused_before_anything_goes() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 94_500));
    upstream.add(NGINX, "1", &image);
    let server = both(&upstream).start();
    server.pull(NGINX, "1", &image);
    server.target().image("team/app", "1", &image);
    for (arguments, code, reason) in [
        (&["purge", "nginx:1", "nginx:2"][..], 1, "nothing of docker.io/library/nginx:2 is here"),
        (&["purge", "nginx:1", "team/app:1"], 1, "entrepot rm team/app:1"),
        (&["purge", "quay.io/**"], 1, "nothing of quay.io/** is here"),
        (&["purge", "Nginx"], 2, "Nginx"),
        (&["purge"], 2, "IMAGE|PATTERN"),
    ] {
        let refused = run(server.data(), arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", refused.output);
        assert!(refused.output.contains(reason), "{arguments:?}: {}", refused.output);
    }
    upstream.stop();
    server.pull(NGINX, "1", &image);
    server.pull("team/app", "1", &image);
}
