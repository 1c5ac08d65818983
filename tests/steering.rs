//! `entrepot refresh`, `pin`, `unpin`, `evict` and `rm` of one tag: with a server and without one.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    images::{Format, Image},
    process::CommandResult,
    reachability::holds_what_tags_reach,
    server::{Server, Setup, entrepot},
    upstream::{Fault, Kind, Rule, Upstream},
};

const NGINX: &str = "library/nginx";

fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).hosted("[team/**]").freshness("1h").variable("REGISTRY_GC_INTERVAL", "0")
}

fn run(data: &Path, arguments: &[&str]) -> CommandResult {
    entrepot(&[arguments, &["--data", data.to_str().unwrap()]].concat(), &[])
}

/// The last line of JSON that a command writes.
fn last(data: &Path, arguments: &[&str]) -> Value {
    let outcome = run(data, &[arguments, &["--json"]].concat()).expect_success(&arguments.join(" "));
    serde_json::from_str(outcome.output.lines().last().unwrap()).unwrap()
}

fn refused(data: &Path, arguments: &[&str], reason: &str) {
    let outcome = run(data, arguments);
    assert_eq!(outcome.status.code(), Some(1), "{arguments:?}: {}", outcome.output);
    assert!(outcome.output.contains(reason), "{arguments:?}: {}", outcome.output);
}

fn digest_of(server: &Server, repository: &str, tag: &str) -> String {
    server.manifest(repository, tag).send().summary().digest
}

#[test]
fn refresh_asks_the_upstream_now() {
    let (upstream, old, new) =
        (Upstream::plain(), Image::single(Format::Oci, 95_000), Image::single(Format::Oci, 95_001));
    upstream.add(NGINX, "1", &old);
    let mut server = both(&upstream).start();
    let data = server.data().to_owned();
    let refresh = || -> Value {
        let outcome = run(&data, &["refresh", "nginx:1", "--json"]).expect_success("refresh");
        serde_json::from_str(outcome.output.lines().next().unwrap()).unwrap()
    };
    assert_eq!(refresh()["result"], "new");
    assert_eq!(refresh()["result"], "unchanged");
    upstream.replace(NGINX, "1", &new);
    assert_eq!(digest_of(&server, NGINX, "1"), old.digest(), "it is believed for an hour");
    let moved = refresh();
    assert_eq!(
        (&moved["result"], &moved["before"], &moved["now"]),
        (&json!("moved"), &json!(old.digest()), &json!(new.digest()))
    );
    let asked = upstream.count("HEAD", Kind::Manifest) + upstream.count("GET", Kind::Manifest);
    assert_eq!(digest_of(&server, NGINX, "1"), new.digest());
    assert_eq!(upstream.count("HEAD", Kind::Manifest) + upstream.count("GET", Kind::Manifest), asked, "it is cached");
    upstream.fault(Rule::on(Kind::Manifest, Fault::Status(500)));
    refused(&data, &["refresh", "nginx:1"], "1 of 1 images could not be asked about");
    assert_eq!(digest_of(&server, NGINX, "1"), new.digest(), "what is cached stays");
    upstream.heal();
    upstream.remove_tag(NGINX, "1");
    assert_eq!(refresh()["result"], "gone");
    assert_eq!(server.manifest(NGINX, "1").send().status, 404);
    server.target().image("team/app", "1", &old);
    refused(&data, &["refresh", "team/app:1"], "1 of 1 images");
    server.stop();
    refused(&data, &["refresh", "nginx:1"], "no server runs");
}

/// Pins made by a command hold over restarts, a lost index and `evict`, until they are removed.
#[test]
fn a_pin_outlives_the_index() {
    let upstream = Upstream::plain();
    let images: Vec<_> = (0..2).map(|number| Image::of_size(Format::Oci, 95_100 + number, 200_000)).collect();
    let mut server = both(&upstream).lease("0s").variable("REGISTRY_STORAGE_PINNED", "[library/never]").start();
    let data = server.data().to_owned();
    for (name, image) in ["library/kept", "library/gone"].iter().zip(&images) {
        upstream.add(name, "1", image);
        server.pull(name, "1", image);
    }
    let pins = last(&data, &["pin", "library/kept", "ghcr.io/**"]);
    assert_eq!(pins["added"], json!(["library/kept", "ghcr.io/**"]));
    assert_eq!(last(&data, &["pin", "library/kept"])["added"], pins["added"], "twice is once");
    server.stop();
    fs::remove_dir_all(data.join("index")).unwrap();
    assert_eq!(last(&data, &["pin"])["added"], pins["added"], "without a server");
    fs::remove_dir_all(data.join("index")).unwrap();
    server.restart();
    let why: Value = {
        let outcome = run(&data, &["why", "kept:1", "--json"]).expect_success("why");
        serde_json::from_str(&outcome.output).unwrap()
    };
    assert_eq!((&why["content"]["eviction"]["state"], &why["pinned_by"]), (&json!("pinned"), &json!(["library/kept"])));
    let outcome = run(&data, &["evict", "--to", "0", "--json"]);
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.output);
    upstream.stop();
    server.pull("library/kept", "1", &images[0]);
    assert_ne!(server.manifest("library/gone", "1").send().status, 200);
    refused(&data, &["unpin", "library/never"], "remove it from storage.pinned");
    refused(&data, &["unpin", "library/other"], "nothing of a pin library/other is here");
    assert_eq!(last(&data, &["unpin", "library/kept"])["added"], json!(["ghcr.io/**"]));
    let _ = run(&data, &["evict", "--to", "0"]);
    assert_ne!(server.manifest("library/kept", "1").send().status, 200, "it is evicted like others");
    server.stop();
    fs::write(data.join("pins"), "damaged").unwrap();
    let started = entrepot(&["serve", "--data", data.to_str().unwrap()], &[("REGISTRY_HTTP_ADDR", "127.0.0.1:0")]);
    assert!(!started.status.success() && started.output.contains("it is no list of pins"), "{}", started.output);
}

/// Eviction to a size takes mirrored content in the usual order, and nothing that was pushed.
#[test]
fn evict_leaves_no_more_than_was_said() {
    let upstream = Upstream::plain();
    let mut server = both(&upstream).lease("0s").start();
    let data = server.data().to_owned();
    for number in 0..6 {
        let (name, image) = (format!("library/app{number}"), Image::of_size(Format::Oci, 95_200 + number, 500_000));
        upstream.add(&name, "1", &image);
        server.pull(&name, "1", &image);
    }
    let hosted = Image::of_size(Format::Oci, 95_300, 400_000);
    server.target().image("team/app", "1", &hosted);
    let total = |data: &Path| -> u64 {
        let outcome = run(data, &["du", "--json"]).expect_success("du");
        serde_json::from_str::<Value>(&outcome.output).unwrap()["total"].as_u64().unwrap()
    };
    let before = total(&data);
    let to = (before - 1_200_000).to_string();
    let dry = last(&data, &["evict", "--to", &to, "--dry-run"]);
    assert!(dry["after"].as_u64().unwrap() <= before && total(&data) + 100_000 > before, "{dry}");
    let evicted = last(&data, &["evict", "--to", &to]);
    let after = evicted["after"].as_u64().unwrap();
    assert!(after <= before - 1_200_000 && after > before - 2_500_000, "{evicted}");
    server.stop();
    let alone = run(&data, &["evict", "--to", "0", "--json"]);
    assert_eq!(alone.status.code(), Some(1), "{}", alone.output);
    assert!(alone.output.contains("\"mirrored\":0"), "{}", alone.output);
    server.restart();
    server.pull("team/app", "1", &hosted);
}

/// A tag goes with what only it leads to; what another tag or index leads to stays, and the name stays claimed.
#[test]
fn rm_of_a_tag_takes_what_only_it_leads_to() {
    let mut server = Setup::hosting()
        .variable("REGISTRY_GC_INTERVAL", "0")
        .variable("REGISTRY_IMMUTABLE", "[\"team/app:v*\"]")
        .start();
    let data = server.data().to_owned();
    let (one, two, index) = (
        Image::single(Format::Oci, 95_400),
        Image::single(Format::Oci, 95_401),
        Image::index(Format::Oci, 95_402, 30_000),
    );
    let target = server.target();
    target.image("team/app", "v1", &one);
    target.image("team/app", "same", &one);
    target.image("team/app", "v2", &two);
    target.image("team/app", "all", &index);
    target.image("team/app", "part", &index);
    let child = &index.children[0];
    assert_eq!(target.manifest("team/app", "child", child).status, 201);
    let manifests = |arguments: &[&str]| last(&data, &[&["rm"], arguments].concat())["manifests"].clone();
    assert_eq!(manifests(&["team/app:v2", "--dry-run"]), 1);
    server.pull("team/app", "v2", &two);
    assert_eq!(manifests(&["team/app:v2"]), 1, "immutable or not");
    assert_eq!(server.manifest("team/app", two.digest()).send().status, 404);
    assert_eq!(manifests(&["team/app:v1"]), 0, "another tag names it");
    server.pull("team/app", "same", &one);
    assert_eq!(manifests(&["team/app:all"]), 0);
    assert_eq!(manifests(&["team/app:part"]), json!(index.children.len()), "the index, and all but the tagged child");
    assert_eq!(server.manifest("team/app", "child").send().summary().digest, child.digest);
    refused(&data, &["rm", "team/app:none"], "nothing of team/app:none is here");
    assert_eq!(run(&data, &["rm", "team/app:a/b"]).status.code(), Some(2));
    server.stop();
    assert_eq!(manifests(&["team/app:child"]), 1, "without a server");
    run(&data, &["gc", "--untagged"]).expect_success("gc");
    holds_what_tags_reach(&data);
    server.restart();
    server.pull("team/app", "same", &one);
}
