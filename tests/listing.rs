//! `entrepot list` and `entrepot why`: with a server and without one, with the figures of `entrepot du`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    images::{Blob, Format, Image},
    server::{Server, Setup, entrepot},
    upstream::Upstream,
    users::{Users, password},
};

fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).hosted("[team/**]").freshness("1h").variable("REGISTRY_GC_INTERVAL", "0")
}

fn json_of(data: &Path, arguments: &[&str]) -> Value {
    let outcome = entrepot(&[arguments, &["--json", "--data", data.to_str().unwrap()]].concat(), &[]);
    let outcome = outcome.expect_success(&arguments.join(" "));
    serde_json::from_str(&outcome.output).unwrap_or_else(|error| panic!("{error}: {}", outcome.output))
}

fn list(of: &Value, key: &str) -> Vec<Value> {
    of[key].as_array().unwrap_or_else(|| panic!("no {key} in {of}")).clone()
}

/// The full name of each repository with its entry.
fn repositories(data: &Path, arguments: &[&str]) -> Vec<(String, Value)> {
    let document = json_of(data, &[&["list"], arguments].concat());
    let named = |entry: Value| (entry["repository"].as_str().unwrap().to_owned(), entry);
    list(&document, "repositories").into_iter().map(named).collect()
}

fn tag(data: &Path, repository: &str, tag: &str) -> Value {
    let found = repositories(data, &[&format!("{repository}:{tag}")]);
    assert_eq!(found.len(), 1, "{repository}:{tag}");
    list(&found[0].1, "tags").remove(0)
}

/// Every figure of the list is that of `du`.
fn agrees_with_du(data: &Path) {
    let usage = json_of(data, &["du", "--tags"]);
    let mut counted = Vec::new();
    for source in list(&usage, "sources") {
        for repository in list(&source, "repositories") {
            let name = repository["name"].as_str().unwrap().to_owned();
            let is_hosted = source["class"] == "hosted";
            let name = if is_hosted { name } else { format!("{}/{name}", source["source"].as_str().unwrap()) };
            counted.push((name, repository));
        }
    }
    counted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut listed = repositories(data, &[]);
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    let names = |all: &[(String, Value)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&listed), names(&counted));
    for ((name, listed), (_, counted)) in listed.iter().zip(&counted) {
        let figures = |of: &Value| ["size", "exclusive", "objects", "last_used"].map(|key| of[key].clone());
        assert_eq!(figures(listed), figures(counted), "{name}");
        let by_tag = |of: &Value| {
            let mut tags: Vec<_> = list(of, "tags").iter().map(|tag| (tag["tag"].to_string(), figures(tag))).collect();
            tags.sort_by(|one, other| one.0.cmp(&other.0));
            tags
        };
        assert_eq!(by_tag(listed), by_tag(counted), "{name}");
    }
}

fn two_kinds() -> (Upstream, Server, Image, Image) {
    let (upstream, base) = (Upstream::plain(), Blob::noise(93_000, 200_000));
    let image = |seed: u64| Image::of_layers(Format::Oci, &[base.clone(), Blob::noise(seed, 30_000)]);
    let (nginx, app) = (image(93_001), image(93_002));
    upstream.add("library/nginx", "1", &nginx);
    upstream.add("library/nginx", "latest", &nginx);
    let server = both(&upstream).start();
    server.pull("library/nginx", "1", &nginx);
    server.pull("library/nginx", "latest", &nginx);
    server.target().image("team/app", "v1", &app);
    server.target().image("team/app", "v2", &image(93_003));
    (upstream, server, nginx, app)
}

#[test]
fn the_list_has_the_figures_of_du() {
    let (_upstream, mut server, nginx, app) = two_kinds();
    agrees_with_du(server.data());
    let entry = tag(server.data(), "docker.io/library/nginx", "1");
    assert_eq!(
        (&entry["digest"], &entry["state"], &entry["missing"]),
        (&json!(nginx.digest()), &json!("complete"), &json!(0))
    );
    assert_eq!(tag(server.data(), "team/app", "v1")["digest"], app.digest());
    let running = repositories(server.data(), &[]);
    server.stop();
    agrees_with_du(server.data());
    assert_eq!(repositories(server.data(), &[]), running, "the same without a server");
}

#[test]
fn a_pattern_selects() {
    let (_upstream, server, ..) = two_kinds();
    let names = |pattern: &str| {
        let found = repositories(server.data(), &[pattern]);
        let tags = |entry: &Value| {
            list(entry, "tags").iter().map(|tag| tag["tag"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        found.into_iter().map(|(name, entry)| format!("{name} {}", tags(&entry).join(" "))).collect::<Vec<_>>()
    };
    for (pattern, expected) in [
        ("team/**", &["team/app v1 v2"][..]),
        ("team/**:v1", &["team/app v1"]),
        ("**:*1", &["team/app v1", "docker.io/library/nginx 1"]),
        ("nginx", &["docker.io/library/nginx 1 latest"]),
        ("docker.io/**:latest", &["docker.io/library/nginx latest"]),
    ] {
        assert_eq!(names(pattern), expected, "{pattern}");
    }
    let data = server.data().to_str().unwrap();
    let nothing = entrepot(&["list", "ghcr.io/**", "--data", data], &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(nothing.output.contains("nothing here matches ghcr.io/**"), "{}", nothing.output);
    let wrong = entrepot(&["list", "Team/*", "--data", data], &[]);
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.output);
    let table = entrepot(&["list", "--data", data], &[]).expect_success("list").output;
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().last().unwrap_or_default()).collect();
    assert_eq!(lines, ["STATE", "team/app", ":v1", ":v2", "docker.io/library/nginx", ":1", ":latest"], "{table}");
}

/// Platforms that nobody asked for are no holes; a layer that was pulled and is gone is one.
#[test]
fn what_was_asked_for_and_is_gone_is_a_hole() {
    let (upstream, index) = (Upstream::plain(), Image::index(Format::Oci, 93_100, 40_000));
    upstream.add("library/many", "1", &index);
    let mut server = both(&upstream).start();
    let top = server.manifest("library/many", "1").send();
    assert_eq!(top.status, 200);
    let child = &index.children[0];
    assert_eq!(server.manifest("library/many", &child.digest).send().status, 200);
    let document: Value = serde_json::from_slice(&child.bytes).unwrap();
    let layer = document["layers"][0]["digest"].as_str().unwrap().to_owned();
    for digest in [document["config"]["digest"].as_str().unwrap(), &layer] {
        assert_eq!(server.blob("library/many", digest).send().summary().digest, digest);
    }
    let name = "docker.io/library/many";
    let before = tag(server.data(), name, "1");
    assert_eq!(before["state"], "partial", "{before}");
    let why = json_of(server.data(), &["why", "many:1"]);
    assert_eq!(why["content"]["missing"]["manifests"], json!(index.children.len() - 1), "{why}");
    server.stop();
    let hex = layer.strip_prefix("sha256:").unwrap();
    let file = format!("docker/registry/v2/blobs/sha256/{}/{hex}", &hex[..2]);
    fs::remove_dir_all(server.data().join(file)).unwrap();
    server.restart();
    let after = tag(server.data(), name, "1");
    assert_eq!(after["state"], "holes", "{after}");
    let lost = before["size"].as_u64().unwrap() - after["size"].as_u64().unwrap();
    assert!(lost >= document["layers"][0]["size"].as_u64().unwrap(), "{before} {after}");
}

#[test]
fn why_tells_what_is_known_of_an_image() {
    let (_upstream, mut server, nginx, app) = two_kinds();
    let data = server.data().to_owned();
    let why = json_of(&data, &["why", "nginx:1"]);
    let content = &why["content"];
    assert_eq!(why["image"], "docker.io/library/nginx:1");
    assert_eq!((&content["digest"], &content["state"]), (&json!(nginx.digest()), &json!("complete")));
    assert_eq!(content["tags"], json!(["1", "latest"]));
    assert_eq!(content["eviction"]["state"], "leased", "{why}");
    assert_eq!(content["last_client"]["address"], "127.0.0.1");
    assert_eq!(content["last_client"]["user"], "anonymous");
    assert_eq!(why["freshness"]["is_asked_next"], false);
    let listed = tag(&data, "docker.io/library/nginx", "1");
    assert_eq!((&content["size"], &content["since"]), (&listed["size"], &listed["since"]), "{why}");
    let hosted = json_of(&data, &["why", "team/app:v1"]);
    assert_eq!((&hosted["class"], &hosted["content"]["digest"]), (&json!("hosted"), &json!(app.digest())));
    assert_eq!(hosted["content"]["eviction"]["state"], "hosted");
    let by_digest = json_of(&data, &["why", &format!("nginx@{}", nginx.digest())]);
    assert_eq!(by_digest["content"]["digest"], nginx.digest());
    let absent = entrepot(&["why", "ghcr.io/org/none:1", "--json", "--data", data.to_str().unwrap()], &[]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(absent.output.contains("\"content\": null"), "{}", absent.output);
    let text = entrepot(&["why", "nginx:1", "--data", data.to_str().unwrap()], &[]).expect_success("why").output;
    for part in ["docker.io/library/nginx:1 (mirrored)", "complete", "anonymous from 127.0.0.1", "believed until"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    server.stop();
    let alone = json_of(&data, &["why", "nginx:1"]);
    assert_eq!(alone["content"]["size"], content["size"]);
    assert_eq!((&alone["freshness"], &alone["content"]["last_client"]), (&Value::Null, &Value::Null));
}

/// The position in the queue, pins of the configuration, and the user who pulled.
#[test]
fn why_tells_what_is_evicted_when() {
    let (upstream, users) = (Upstream::plain(), Users::named(&["ann"]));
    let images: Vec<_> = (0..3).map(|number| Image::single(Format::Oci, 93_200 + number)).collect();
    let setup = both(&upstream).lease("0s").variable("REGISTRY_STORAGE_PINNED", "[library/app0]");
    let server = users.alone(setup).start();
    let ann = server.target().as_user("ann", &password("ann"));
    for (number, image) in images.iter().enumerate() {
        upstream.add(&format!("library/app{number}"), "1", image);
        for path in std::iter::once("manifests/1".to_owned())
            .chain(image.blobs.iter().map(|blob| format!("blobs/{}", blob.digest)))
        {
            assert_eq!(ann.request("GET", &format!("library/app{number}/{path}")).send().status, 200);
        }
    }
    let why = |image: &str| json_of(server.data(), &["why", image]);
    let pinned = why("app0:1");
    assert_eq!(
        (&pinned["content"]["eviction"]["state"], &pinned["pinned_by"]),
        (&json!("pinned"), &json!(["library/app0"]))
    );
    let (first, second) = (why("app1:1"), why("app2:1"));
    for report in [&first, &second] {
        let eviction = &report["content"]["eviction"];
        assert_eq!(eviction["state"], "queued", "{report}");
        assert!(eviction["position"].as_u64().unwrap() <= eviction["of"].as_u64().unwrap());
        assert_eq!(report["content"]["last_client"]["user"], "ann");
    }
    let position = |report: &Value| report["content"]["eviction"]["position"].as_u64().unwrap();
    assert_ne!(position(&first), position(&second));
}
