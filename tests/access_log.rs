//! The access log: who pulled what, how much of it, and from where it came; and its replay by `entrepot simulate`.

use std::{fs::File, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    images::{Blob, Format, Image},
    process, scratch,
    server::{BINARY, Server, Setup},
    upstream::Upstream,
    users::{Users, password},
    wait_until,
};

const REPOSITORY: &str = "library/app";

/// The lines of the log with this text in their path, in order, once there are `count`.
fn lines(server: &Server, path: &str, count: usize) -> Vec<Value> {
    let find = || -> Vec<Value> {
        let lines = server.log();
        let parsed = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["target"] == "access" && line["path"].as_str().unwrap().contains(path)).collect()
    };
    wait_until("the lines", Duration::from_secs(10), || find().len() >= count);
    find()
}

fn has(line: &Value, wanted: &Value) {
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(line.get(field).unwrap_or(&Value::Null), value, "{field} of {line}");
    }
}

/// The report of `entrepot simulate` on a server's log as it is.
pub(crate) fn simulate(log: &str) -> Value {
    let dir = scratch::dir("access-log");
    let path = dir.path().join("log");
    std::fs::write(&path, log).unwrap();
    let mut command = process::command(BINARY);
    command.args(["simulate", "--json", "-"]).stdin(File::open(&path).unwrap());
    let result = process::run("simulate", command, Duration::from_secs(60)).expect_success("entrepot simulate");
    serde_json::from_str(&result.output).unwrap_or_else(|_| panic!("{}", result.output))
}

/// A pull by a user, of a manifest, a blob, a part of it, and one that the client breaks off; and a push.
#[test]
fn it_tells_who_pulled_what() {
    let (upstream, users) = (Upstream::plain(), Users::named(&["ann"]));
    let large = Blob::noise(71_000, 30_000_000);
    let image = Image::of_layers(Format::Oci, &[Blob::noise(71_001, 50_000)]);
    upstream.add(REPOSITORY, "1", &image);
    upstream.add_blob(REPOSITORY, &large);
    let rules =
        "access: [{who: anonymous, may: pull, where: 'docker.io/**'}, {who: ann, may: [pull, push], where: '**'}]";
    let server = users.with(Setup::both(&upstream.url()), rules).variable("REGISTRY_LOG_FORMATTER", "json").start();
    let ann = server.target().as_user("ann", &password("ann"));
    assert_eq!(ann.request("GET", &format!("{REPOSITORY}/manifests/1")).send().summary().digest, image.digest());
    let manifest = &lines(&server, "/manifests/1", 1)[0];
    has(
        manifest,
        &json!({ "user": "ann", "method": "GET", "status": 200, "repository": REPOSITORY, "upstream": "docker.io",
            "kind": "manifest", "digest": image.digest(), "size": image.top.bytes.len(), "sent": image.top.bytes.len() }),
    );
    assert!(manifest["cache"].as_str().unwrap().contains("miss"), "{manifest}");

    let layer = image.layer();
    let blob = format!("{REPOSITORY}/blobs/{}", layer.digest);
    server.blob(REPOSITORY, &layer.digest).send().summary();
    server.blob(REPOSITORY, &layer.digest).header("Range", "bytes=1000-2999").send().body();
    let pulls = lines(&server, &blob, 2);
    let of_layer =
        json!({ "user": null, "kind": "blob", "digest": layer.digest, "size": layer.len(), "upstream": "docker.io" });
    pulls.iter().for_each(|pull| has(pull, &of_layer));
    has(&pulls[0], &json!({ "status": 200, "sent": layer.len(), "range": null }));
    has(&pulls[1], &json!({ "status": 206, "sent": 2000, "range": "bytes=1000-2999" }));
    assert!(pulls[1]["cache"].as_str().unwrap().contains("hit"), "{}", pulls[1]);

    let mut broken_off = server.blob(REPOSITORY, &large.digest).window(16 << 10).send();
    broken_off.up_to(1000);
    drop(broken_off);
    let line = &lines(&server, &large.digest, 1)[0];
    has(line, &json!({ "status": 200, "size": large.len() }));
    assert!((1..large.len() as u64).contains(&line["sent"].as_u64().unwrap()), "{line}");

    ann.image("team/app", "1", &image);
    let push = lines(&server, "team/app/manifests/1", 1).pop().unwrap();
    has(
        &push,
        &json!({ "user": "ann", "method": "PUT", "status": 201, "repository": "team/app", "upstream": null,
            "kind": "manifest", "digest": image.digest() }),
    );
}

/// `entrepot simulate` replays the log as it was written, in both formats: the pulls of mirrored content and nothing
/// else.
#[test]
fn simulate_reads_it_as_it_is() {
    let (upstream, other) = (Upstream::plain(), Upstream::plain());
    let foreign = Image::of_size(Format::Oci, 72_100, 40_000);
    other.add("library/app0", "1", &foreign);
    let images: Vec<Image> = (0..5).map(|number| Image::of_size(Format::Oci, 72_000 + number, 40_000)).collect();
    for (number, image) in images.iter().enumerate() {
        upstream.add(&format!("library/app{number}"), "1", image);
    }
    for formatter in ["text", "json"] {
        let ghcr = format!("{{ghcr.io: {{url: '{}'}}}}", other.url());
        let setup = Setup::both(&upstream.url()).variable("REGISTRY_PROXY_UPSTREAMS", &ghcr);
        let mut server = setup.variable("REGISTRY_LOG_FORMATTER", formatter).start();
        for _ in 0..3 {
            server.pull("ghcr.io/library/app0", "1", &foreign);
            for (number, image) in images.iter().enumerate() {
                server.pull(&format!("library/app{number}"), "1", image);
            }
        }
        server.target().image("team/own", "1", &images[0]);
        server.pull("team/own", "1", &images[0]);
        assert_eq!(server.manifest("library/app0", "2").send().status, 404);
        server.blob("library/app0", &images[0].layer().digest).header("Range", "bytes=5-9").send().body();
        assert!(server.stop().0.success());
        let report = simulate(&server.log());
        let images = || images.iter().chain([&foreign]);
        let objects: usize = images().map(|image| image.blobs.len() + image.manifests().count()).sum();
        assert_eq!((&report["repositories"], &report["objects"]), (&json!(6), &json!(objects)), "{formatter}");
        assert_eq!(report["requests"], 3 * objects, "{formatter}:\n{}", server.log());
        let bytes: usize = images().flat_map(|image| image.blobs.iter().map(Blob::len)).sum();
        let manifests: usize = images().flat_map(Image::manifests).map(|manifest| manifest.bytes.len()).sum();
        assert_eq!(report["working_set"], bytes + manifests);
    }
}
