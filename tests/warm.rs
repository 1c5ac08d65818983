//! `entrepot warm` and `proxy.warm`: images are in the cache before anybody pulls them, each fetched once.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    admin,
    images::{Format, Image},
    process::{self, CommandResult, Process},
    scratch,
    server::{BINARY, Server, Setup, entrepot},
    upstream::{Fault, Gate, Kind, Rule, Upstream},
    wait_until,
};

const AMD64: [&str; 2] = ["--platform", "linux/amd64"];
const LONG: Duration = Duration::from_secs(60);

fn warm(server: &Server, arguments: &[&str]) -> CommandResult {
    entrepot(&[&["warm", "--data", server.data().to_str().unwrap()], arguments].concat(), &[])
}

/// The lines of `--json`, by image.
fn results(server: &Server, arguments: &[&str]) -> BTreeMap<String, Value> {
    let warmed = warm(server, &[&["--json"], arguments].concat());
    let lines = warmed.output.lines().filter(|line| line.starts_with('{'));
    let parsed = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    parsed.map(|line: Value| (line["image"].as_str().unwrap().to_owned(), line)).collect()
}

fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let dir = scratch::dir("images");
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    (dir, file)
}

/// The number of GETs of each path, with those alone that are content.
fn gets(upstream: &Upstream) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for recorded in upstream.requests() {
        if recorded.request.method == "GET" && matches!(recorded.kind, Kind::Manifest | Kind::Blob | Kind::Cdn) {
            *counts.entry(recorded.request.path).or_default() += 1;
        }
    }
    counts
}

/// Pulls linux/amd64 of an index.
fn pull_amd64(server: &Server, repository: &str, tag: &str, image: &Image) {
    assert_eq!(server.manifest(repository, tag).send().summary().digest, image.digest(), "{repository}:{tag}");
    assert_eq!(server.manifest(repository, &image.children[0].digest).send().status, 200);
    for digest in blobs_of(image, 0) {
        assert_eq!(server.blob(repository, &digest).send().summary().digest, digest);
    }
}

/// The digests of the blobs of an index's child.
fn blobs_of(image: &Image, child: usize) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&image.children[child].bytes).unwrap();
    let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    blobs.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect()
}

fn size_of(image: &Image, child: usize) -> u64 {
    let blobs = blobs_of(image, child);
    let blobs = image.blobs.iter().filter(|blob| blobs.contains(&blob.digest)).map(|blob| blob.len() as u64);
    blobs.sum::<u64>() + (image.top.bytes.len() + image.children[child].bytes.len()) as u64
}

/// At a terminal: bars, and afterwards all images are pulled without the upstream.
#[test]
fn twenty_images_of_a_compose_file_are_pulled_without_the_upstream() {
    let upstream = Upstream::plain();
    let images: Vec<_> =
        (0..20).map(|n| (format!("org/app{n}"), Image::index(Format::Oci, 9000 + 3 * n, 200_000))).collect();
    let mut compose = String::from("services:\n");
    for (number, (name, image)) in images.iter().enumerate() {
        upstream.add(name, "1", image);
        let image = if number % 2 == 0 { format!("{name}:1") } else { format!("docker.io/{name}:${{TAG:-1}}") };
        writeln!(compose, "  service{number}:\n    image: {image}\n  again{number}:\n    image: {name}:1").unwrap();
    }
    // Slow enough for the bars to be drawn.
    upstream.fault(Rule::on(Kind::Blob, Fault::Bandwidth(100_000)).path("org/app3/"));
    let server = Server::mirroring(&upstream);
    let (_dir, compose) = file("compose.yaml", &compose);
    let data = server.data().display();
    let program = format!("{BINARY} warm --data {data} --platform linux/amd64 --file {}", compose.display());
    let mut terminal = process::command("script");
    terminal.args(["--quiet", "--return", "--command", &program, "/dev/null"]).env("TERM", "xterm");
    let shown = process::run("warm at a terminal", terminal, LONG).expect_success("warm at a terminal").output;
    for part in ["of 20 images", "left", "B/s", "20 of 20 images are here", "\u{1b}["] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert_eq!(shown.matches("warmed docker.io/org/app").count(), 20, "each once: {shown}");
    upstream.stop();
    images.iter().for_each(|(name, image)| pull_amd64(&server, name, "1", image));
    assert!(gets(&upstream).values().all(|count| *count == 1), "{:?}", gets(&upstream));
}

/// Nothing of another platform is fetched, and nothing twice.
#[test]
fn the_bytes_of_one_platform_are_fetched_once() {
    let (upstream, image) = (Upstream::plain(), Image::index(Format::Docker, 9100, 50_000));
    upstream.add("library/app", "1", &image);
    let server = Setup::mirroring(&upstream.url()).freshness("1h").start();
    let fetched = |platform: &str| {
        let results = results(&server, &["--platform", platform, "app:1", "docker.io/library/app:1"]);
        assert_eq!(results.len(), 1, "{results:?}");
        let result = results["docker.io/library/app:1"].clone();
        assert_eq!((&result["result"], result["digest"].as_str()), (&"warmed".into(), Some(image.digest())));
        (result["fetched"].as_u64().unwrap(), result["present"].as_u64().unwrap())
    };
    let (amd64, arm64) = (size_of(&image, 0), size_of(&image, 1));
    assert_eq!(fetched("linux/amd64"), (amd64, 0));
    let asked = gets(&upstream);
    assert!(asked.keys().all(|path| !path.contains(&image.children[1].digest)), "{asked:?}");
    assert_eq!(asked.len(), 2 + blobs_of(&image, 0).len());
    assert_eq!(fetched("linux/amd64"), (0, amd64));
    assert_eq!(gets(&upstream), asked, "all of it is here");
    let all = amd64 + arm64 - image.top.bytes.len() as u64;
    assert_eq!(fetched("all"), (all - amd64, amd64));
    let refused = warm(&server, &["--platform", "linux/s390x", "app:1"]);
    assert!(
        refused.output.contains("no image for linux/s390x, but for linux/amd64, linux/arm64"),
        "{}",
        refused.output
    );
}

/// The images that failed are listed with their reasons, and the others are fetched.
#[test]
fn images_that_fail_are_listed() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Oci, 9200));
    upstream.add("org/app", "1", &image);
    let server = Server::mirroring(&upstream);
    let warmed = warm(&server, &["org/app:1", "org/none:1", "ghcr.io/org/app:1"]);
    assert_eq!(warmed.status.code(), Some(1), "{}", warmed.output);
    for line in [
        "fetching docker.io/org/app:1",
        "failed docker.io/org/none:1",
        "1 of 3 images are here",
        "entrepot: docker.io/org/none:1: there is no such image in docker.io/org/none",
        "entrepot: ghcr.io/org/app:1: ghcr.io is no upstream of this server: list it in proxy.upstreams",
        "entrepot: 2 of 3 images failed",
    ] {
        assert!(warmed.output.lines().any(|found| found.starts_with(line)), "no {line:?} in {}", warmed.output);
    }
    upstream.stop();
    server.pull("org/app", "1", &image);
}

/// One fetch for the command and for clients that pull meanwhile.
#[test]
fn a_client_that_pulls_meanwhile_shares_the_fetch() {
    let (upstream, image, gate) = (Upstream::plain(), Image::of_size(Format::Oci, 9300, 300_000), Gate::new());
    upstream.add("org/app", "1", &image);
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(100_000, gate.clone())));
    let server = Server::mirroring(&upstream);
    thread::scope(|scope| {
        let warming = scope.spawn(|| warm(&server, &["org/app:1"]));
        wait_until("the fill to begin", LONG, || upstream.count("GET", Kind::Blob) > 0);
        let pulling = scope.spawn(|| server.pull("org/app", "1", &image));
        thread::sleep(Duration::from_millis(200));
        gate.open();
        warming.join().unwrap().expect_success("warm");
        pulling.join().unwrap();
    });
    let asked = gets(&upstream);
    assert_eq!(asked.len(), 1 + image.blobs.len());
    assert!(asked.values().all(|count| *count == 1), "{asked:?}");
}

/// The containers of Kubernetes objects.
#[test]
fn the_images_of_kubernetes_objects_are_fetched() {
    let upstream = Upstream::plain();
    let images: Vec<_> = (0..3).map(|n| (format!("org/k{n}"), Image::single(Format::Oci, 9400 + n))).collect();
    images.iter().for_each(|(name, image)| upstream.add(name, "1", image));
    let server = Server::mirroring(&upstream);
    let (_dir, objects) = file(
        "objects.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      initContainers:\n      - image: org/k0:1\n      \
         containers:\n      - image: docker.io/org/k1:1\n---\nkind: Pod\nspec: {containers: [{image: org/k2:1}]}\n",
    );
    let warmed = warm(&server, &["--file", objects.to_str().unwrap()]).expect_success("warm");
    assert!(warmed.output.contains("3 of 3 images are here"), "{}", warmed.output);
    upstream.stop();
    images.iter().for_each(|(name, image)| server.pull(name, "1", image));
}

/// The server fetches them by itself, and follows a tag that moves.
#[test]
fn the_images_of_the_configuration_are_fetched_on_a_schedule() {
    let (upstream, [first, second]) = (Upstream::plain(), [9500, 9501].map(|seed| Image::single(Format::Oci, seed)));
    upstream.add("org/app", "1", &first);
    let setup = Setup::mirroring(&upstream.url()).freshness("100ms");
    let setup = setup.variable("REGISTRY_PROXY_WARM", "[org/app:1]").variable("REGISTRY_PROXY_WARMINTERVAL", "1s");
    let mut server = setup.start();
    for image in [&first, &second] {
        upstream.add("org/app", "1", image);
        server.wait_for_log(&format!("image warmed image=org/app:1 digest={}", image.digest()), LONG);
    }
    upstream.stop();
    server.pull("org/app", "1", &second);
    let wrong = Setup::mirroring(&upstream.url()).variable("REGISTRY_PROXY_WARM", "[Org/App]").run();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        wrong.output.contains("proxy.warm") && wrong.output.contains("expected an image such as nginx"),
        "{}",
        wrong.output
    );
}

/// Without a server, one line says what to do.
#[test]
fn without_a_server_the_command_says_to_start_one() {
    let data = scratch::dir("nobody");
    for at in [data.path().to_owned(), data.path().join("missing")] {
        let refused = entrepot(&["warm", "--data", at.to_str().unwrap(), "nginx"], &[]);
        assert_eq!((refused.status.code(), refused.output.lines().count()), (Some(1), 1), "{}", refused.output);
        let wanted = format!("entrepot: no server runs on {}: start one with `entrepot serve", at.display());
        assert!(refused.output.starts_with(&wanted), "{}", refused.output);
    }
    for wrong in
        [&["warm"][..], &["warm", "Nginx"], &["warm", "nginx", "--platform", "x"], &["warm", "--file", "/none"]]
    {
        assert_eq!(entrepot(wrong, &[]).status.code(), Some(2), "{wrong:?}");
    }
}

/// An image that was pushed here is here; nothing is asked upstream.
#[test]
fn a_pushed_image_is_here() {
    let (upstream, image) = (Upstream::plain(), Image::index(Format::Oci, 9600, 1000));
    let server = Setup::both(&upstream.url()).hosted("[team/**]").start();
    server.target().image("team/app", "1", &image);
    let here = format!("{}/team/app:1", server.target().authority());
    for name in ["team/app:1", here.as_str()] {
        let results = results(&server, &[&AMD64[..], &[name]].concat());
        let result = results.values().next().unwrap();
        assert_eq!((&result["result"], result["fetched"].as_u64()), (&"warmed".into(), Some(0)), "{result}");
        assert_eq!(result["present"].as_u64(), Some(size_of(&image, 0)));
    }
    assert_eq!(results(&server, &["team/app:2"])["team/app:2"]["result"], "failed");
    assert_eq!(upstream.requests().len(), 0);
}

/// An image that does not fit is no success.
#[test]
fn an_image_without_room_fails() {
    let (upstream, image) = (Upstream::plain(), Image::of_size(Format::Oci, 9700, 3_000_000));
    upstream.add("org/app", "1", &image);
    let server = Setup::mirroring(&upstream.url()).quota("22MiB").start();
    let results = results(&server, &["org/app:1"]);
    let error = results["docker.io/org/app:1"]["error"].as_str().unwrap();
    assert!(error.contains(&image.layer().digest) && error.contains("not kept"), "{error}");
}

/// The server stops fetching soon after the command was ended.
#[test]
fn a_client_that_leaves_ends_the_work() {
    let (upstream, gate) = (Upstream::plain(), Gate::new());
    let names: Vec<_> = (0..8).map(|number| format!("org/app{number}:1")).collect();
    for (name, seed) in names.iter().zip(9800..) {
        upstream.add(name.trim_end_matches(":1"), "1", &Image::of_size(Format::Oci, seed, 200_000));
    }
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(10_000, gate.clone())));
    let mut server = Server::mirroring(&upstream);
    let mut command = process::command(BINARY);
    command.arg("warm").arg("--data").arg(server.data()).args(&names);
    let mut client = Process::start("warm", command);
    wait_until("some images to be fetched", LONG, || upstream.counted() == 3);
    client.kill();
    server.wait_for_log("admin client left", LONG);
    gate.open();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(upstream.counted(), 3, "images beyond those under way were fetched");
}

/// The protocol refuses what is no image, and other requests go on meanwhile.
#[test]
fn the_socket_refuses_what_is_no_image() {
    let server = Server::mirroring(&Upstream::plain());
    let ask = |images: &[&str], platforms: &[&str]| {
        let request = serde_json::json!({ "request": "warm", "images": images, "platforms": platforms });
        admin::ask(server.data(), &request).pop().unwrap()
    };
    assert!(ask(&["Nginx"], &[])["message"].as_str().unwrap().starts_with("\"Nginx\": "));
    assert!(ask(&["nginx"], &["x"])["message"].as_str().unwrap().starts_with("a platform is OS/ARCHITECTURE"));
    assert_eq!(ask(&[], &[])["answer"], "warmed");
    assert!(Path::new(&admin::socket(server.data())).exists());
}
