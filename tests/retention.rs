//! Retention of pushed tags: by command, alone and on schedule; while images are pushed; after a kill and without an
//! index.
//!
//! The clock is the test's own: the times of pushes and pulls are those of files on the volume, which it sets back.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::support::{
    admin,
    images::{Format, Image, Manifest},
    ports::Port,
    process::CommandResult,
    reachability, rounds,
    scrape::Scrape,
    server::{Server, Setup, entrepot},
    wait_until,
};

const DAY: Duration = Duration::from_hours(24);

/// Nothing is removed except at the test's request, and then without a grace period.
fn hosting(rules: &str) -> Setup {
    let setup = Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0").variable("REGISTRY_GC_GRACE", "0s");
    setup.variable("REGISTRY_RETENTION", rules)
}

fn retention(data: &Path, arguments: &[&str], rules: &str) -> CommandResult {
    let data = data.to_str().unwrap();
    entrepot(&[&["retention", "--data", data], arguments].concat(), &[("REGISTRY_RETENTION", rules)])
}

fn repository(data: &Path, name: &str) -> PathBuf {
    data.join("docker/registry/v2/repositories").join(name)
}

fn tag(data: &Path, name: &str, tag: &str) -> PathBuf {
    repository(data, name).join("_manifests/tags").join(tag)
}

fn set_time(file: &Path, days_ago: u32) {
    let time = SystemTime::now() - days_ago * DAY;
    File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

/// Lets a tag have been pushed some days ago.
fn pushed(data: &Path, name: &str, tagged: &str, days_ago: u32) {
    set_time(&tag(data, name, tagged).join("current/link"), days_ago);
}

/// Lets every pull of the last thousand days have been noted. No server may run.
fn noted(data: &Path) {
    let time = |days: u32| humantime::format_rfc3339_seconds(SystemTime::now() - days * DAY);
    fs::write(data.join("pulls"), format!("{} {}\n", time(1000), time(0))).unwrap();
}

fn tags(server: &Server, name: &str) -> BTreeSet<String> {
    let listed = server.target().json(&format!("{name}/tags/list"));
    listed["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn set(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

fn lines(result: &CommandResult) -> Vec<Value> {
    result.output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Attaches a signature to an image.
fn sign(server: &Server, name: &str, image: &Image) -> Manifest {
    let target = server.target();
    let config = crate::support::images::Blob::new(&b"{}"[..]);
    target.blob(name, &config);
    let body = json!({
        "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config.descriptor("application/vnd.test.signature"),
        "layers": [], "subject": image.top.descriptor(),
    });
    let signature = Manifest::new(Format::Oci.manifest(), &body);
    assert_eq!(target.manifest(name, &signature.digest, &signature).status, 201);
    signature
}

const RULES: &str = "[{where: team/*, keep: 2}, {where: team/*, tags: ['v*', latest], always: true}]";

/// Pushes five builds; the newest is also `latest`, the oldest shares its image with the release `v1`.
fn push_builds(server: &Server) -> Vec<(Image, Manifest)> {
    let target = server.target();
    let builds = (1..=5_u32).map(|number| {
        let image = Image::index(Format::Oci, 600 + u64::from(number), 5000);
        target.image("team/app", &format!("b{number}"), &image);
        let signature = sign(server, "team/app", &image);
        pushed(server.data(), "team/app", &format!("b{number}"), 100 - 10 * number);
        (image, signature)
    });
    let builds: Vec<_> = builds.collect();
    for (name, image) in [("v1", &builds[0].0), ("latest", &builds[4].0)] {
        assert_eq!(target.manifest("team/app", name, &image.top).status, 201);
        pushed(server.data(), "team/app", name, 95);
    }
    target.image("other/app", "b1", &builds[1].0);
    pushed(server.data(), "other/app", "b1", 500);
    builds
}

fn check_builds(server: &Server, builds: &[(Image, Manifest)]) {
    assert_eq!(tags(server, "team/app"), set(&["b4", "b5", "latest", "v1"]));
    for (name, number) in [("v1", 1), ("b4", 4), ("b5", 5), ("latest", 5)] {
        let (image, signature) = &builds[number - 1];
        server.pull("team/app", name, image);
        assert_eq!(server.manifest("team/app", &signature.digest).send().status, 200, "{name} is signed");
    }
    server.pull("other/app", "b1", &builds[1].0);
    for (image, signature) in &builds[1..3] {
        let gone = image.manifests().chain([signature]);
        for manifest in gone {
            assert_eq!(server.manifest("team/app", &manifest.digest).send().status, 404);
        }
    }
}

/// The table, the JSON, the audit log, the metrics; a dry run equals the run; the bytes go with the next collection.
#[test]
fn a_running_server_is_asked() {
    let debug = Port::reserve();
    let server = hosting(RULES).watched(&debug).start();
    let builds = push_builds(&server);
    let table = retention(server.data(), &["--dry-run"], "[]").expect_success("retention").output;
    for tag in ["team/app:b2", "team/app:b3"] {
        assert!(table.lines().any(|line| line.starts_with(tag) && line.ends_with("1: keep: 2")), "{table}");
    }
    assert!(table.starts_with("TAG") && table.contains("would remove 3 tags"), "{table}");
    let dry = lines(&retention(server.data(), &["--dry-run", "--json"], "[]").expect_success("retention"));
    assert_eq!(tags(&server, "team/app").len(), 7, "a dry run removes nothing");
    let wet = lines(&retention(server.data(), &["--json"], "[]").expect_success("retention"));
    let sorted = |lines: &[Value]| {
        let mut lines: Vec<_> =
            lines.iter().filter(|line| line["answer"] != "retained").map(Value::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&dry), sorted(&wet));
    let last = wet.last().unwrap();
    let totals = ["rules", "tags", "kept", "in_use", "unreadable"].map(|field| last[field].as_u64().unwrap());
    assert_eq!(totals, [2, 3, 4, 0, 0], "{last}");
    // b1 names the image of v1, so the tag goes alone.
    assert_eq!(last["manifests"].as_u64().unwrap() as usize, 2 * (builds[1].0.manifests().count() + 1), "{last}");
    check_builds(&server, &builds);

    let audited = |line: &&Value| line["target"] == "audit" && line["who"] == "retention";
    let log = server.log();
    let log: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audited: Vec<_> = log.iter().filter(audited).collect();
    assert_eq!(audited.len() as u64, 3 + last["manifests"].as_u64().unwrap());
    let b2 = audited.iter().find(|line| line["reference"] == "b2").unwrap();
    assert_eq!((&b2["repository"], &b2["rule"]), (&json!("team/app"), &json!("retention 1 (keep: 2)")), "{b2}");
    let scrape = Scrape::of(&debug.url());
    assert_eq!(scrape.find("entrepot_retention_removed_total", &[r#"kind="tag""#]), Some(3.0));
    assert_eq!(scrape.find("entrepot_retention_kept_tags", &[]), Some(4.0));

    let bytes =
        |image: &Image| server.data().join("docker/registry/v2").join(reachability::data(&image.layer().digest));
    assert!(bytes(&builds[2].0).exists());
    admin::gc(server.data(), false, Some(0));
    assert!(!bytes(&builds[2].0).exists() && bytes(&builds[1].0).exists(), "another repository has it");
    check_builds(&server, &builds);
}

/// Without a server the command does the same, by the rules that it is given, and so does `registry:2`'s volume.
#[test]
fn the_command_works_alone() {
    let mut server = hosting("[]").start();
    let builds = push_builds(&server);
    let none = retention(server.data(), &[], RULES).expect_success("retention").output;
    assert!(none.contains("there are no rules"), "the server has none: {none}");
    server.stop();
    let dry = retention(server.data(), &["--dry-run"], RULES).expect_success("retention").output;
    assert!(dry.contains("would remove 3 tags") && !dry.contains("audit"), "{dry}");
    let wet = retention(server.data(), &[], RULES).expect_success("retention").output;
    assert!(wet.contains("removed 3 tags") && wet.contains(r#""target":"audit""#), "{wet}");
    server.restart();
    check_builds(&server, &builds);
    let wrong = retention(server.data(), &[], "[{where: '**'}]");
    assert!(wrong.status.code() == Some(2) && wrong.output.contains("without a condition"), "{}", wrong.output);
}

/// On its schedule, before the collection that removes the bytes.
#[test]
fn a_server_applies_it_by_itself() {
    let setup = hosting("[{where: '**', keep: 1}]").variable("REGISTRY_GC_INTERVAL", "1s");
    let server = setup.variable("REGISTRY_GC_GRACE", "1s").start();
    let (old, new) = (Image::single(Format::Oci, 620), Image::single(Format::Oci, 621));
    server.target().image("team/app", "1", &old);
    pushed(server.data(), "team/app", "1", 9);
    server.target().image("team/app", "2", &new);
    let bytes = server.data().join("docker/registry/v2").join(reachability::data(&old.layer().digest));
    wait_until("the bytes of the old image to go", Duration::from_secs(30), || !bytes.exists());
    assert_eq!(tags(&server, "team/app"), set(&["2"]));
    server.pull("team/app", "2", &new);
}

fn note(data: &Path, name: &str, tagged: &str) -> Option<SystemTime> {
    fs::metadata(tag(data, name, tagged).join("pulled")).ok().map(|found| found.modified().unwrap())
}

/// The last pull outlives the index and a kill; a pull is noted once a day, and a HEAD is one.
#[test]
fn the_last_pull_is_kept_on_the_disk() {
    let rules = "[{where: '**', pulled: 240h}]";
    let mut server = hosting(rules).start();
    let images: Vec<_> = (0..4).map(|number| Image::single(Format::Oci, 630 + number)).collect();
    let names = ["got", "asked", "resolved", "unused"];
    for (name, image) in names.iter().zip(&images) {
        server.target().image("team/app", name, image);
    }
    let names_of = |folder: &Path| fs::read_dir(folder).unwrap().count();
    let data = server.data().to_owned();
    assert_eq!((note(&data, "team/app", "got"), names_of(&tag(&data, "team/app", "got"))), (None, 2));
    assert_eq!(server.manifest("team/app", "got").send().status, 200);
    assert_eq!(server.target().head("team/app/manifests/asked"), 200);
    assert_eq!(server.manifest("team/app", images[2].digest()).send().status, 200);
    let by_digest = repository(&data, "team/app")
        .join(format!("_manifests/revisions/sha256/{}/pulled", &images[2].digest()["sha256:".len()..]));
    wait_until("all pulls to be noted", Duration::from_secs(20), || {
        note(&data, "team/app", "got").is_some() && note(&data, "team/app", "asked").is_some() && by_digest.exists()
    });
    let first = note(&data, "team/app", "got");
    for _ in 0..100 {
        assert_eq!(server.manifest("team/app", "got").send().status, 200);
    }
    server.kill9();
    fs::remove_dir_all(data.join("index")).unwrap();
    noted(&data);
    for name in names {
        pushed(&data, "team/app", name, 90);
    }
    server.restart();
    for _ in 0..10 {
        assert_eq!(server.manifest("team/app", "got").send().status, 200);
    }
    // The next note of another tag shows that the disk was not slow.
    assert_eq!(server.target().head(&format!("team/app/manifests/{}", images[0].digest())), 200);
    let by_digest = repository(&data, "team/app")
        .join(format!("_manifests/revisions/sha256/{}/pulled", &images[0].digest()["sha256:".len()..]));
    wait_until("a note after the restart", Duration::from_secs(20), || by_digest.exists());
    assert_eq!(note(&data, "team/app", "got"), first, "it was noted today");
    assert_eq!(names_of(&tag(&data, "team/app", "got")), 3, "one note and no other file");
    retention(&data, &[], rules).expect_success("retention");
    assert_eq!(tags(&server, "team/app"), set(&["got", "asked", "resolved"]));

    server.stop();
    for name in ["got", "asked"] {
        set_time(&tag(&data, "team/app", name).join("pulled"), 12);
    }
    set_time(&by_digest, 12);
    noted(&data);
    server.restart();
    assert_eq!(server.target().head("team/app/manifests/asked"), 200);
    wait_until("the pull of another day to be noted", Duration::from_secs(20), || {
        note(&data, "team/app", "asked").is_some_and(|at| at.elapsed().unwrap() < DAY)
    });
    retention(&data, &[], rules).expect_success("retention");
    assert_eq!(tags(&server, "team/app"), set(&["asked", "resolved"]));
}

/// While clients push to the repositories and retention runs all the time, what was acknowledged and must stay is
/// whole.
#[test]
fn nothing_goes_while_it_is_pushed() {
    const CLIENTS: usize = 6;
    let server = hosting("[{where: 'team/*', tags: 'b*', keep: 3}]").variable("REGISTRY_GC_GRACE", "2s").start();
    let (stop, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    let base = Image::single(Format::Oci, 6999);
    server.target().image("team/app", "stays", &base);
    let builds = rounds(30).max(8);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let request = json!({ "request": "retention", "dry_run": false, "grace": null });
                let last = admin::ask(server.data(), &request).pop().unwrap();
                assert_eq!(last["answer"], "retained", "{last}");
                removed.fetch_add(last["tags"].as_u64().unwrap(), Ordering::SeqCst);
                admin::gc(server.data(), false, None);
            }
        });
        let pushing: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let server = &server;
                scope.spawn(move || {
                    let target = server.target();
                    for number in 0..builds {
                        let (name, seed) = (format!("team/app{client}"), (7000 + 100 * client + number) as u64);
                        let image = Image::index(Format::Oci, seed, 3000);
                        target.image(&name, &format!("b{number}"), &image);
                        // Its children are found by a HEAD, as clients do that push an index again under another name.
                        for manifest in image.manifests() {
                            assert_eq!(target.head(&format!("{name}/manifests/{}", manifest.digest)), 200, "{name}");
                        }
                        assert_eq!(target.manifest(&name, "release", &image.top).status, 201);
                        server.pull(&name, &format!("b{number}"), &image);
                        server.pull(&name, "release", &image);
                    }
                })
            })
            .collect();
        let pushed: Vec<_> = pushing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let expected = (CLIENTS * (builds - 3)) as u64;
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while removed.load(Ordering::SeqCst) < expected && std::time::Instant::now() < until {
            thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::SeqCst);
        pushed.into_iter().for_each(|pushed| pushed.unwrap());
        assert_eq!(removed.load(Ordering::SeqCst), expected, "every old build went, once");
    });
    for client in 0..CLIENTS {
        let last: Vec<_> = (builds - 3..builds).map(|number| format!("b{number}")).collect();
        let last: BTreeSet<_> = last.into_iter().chain(["release".to_owned()]).collect();
        assert_eq!(tags(&server, &format!("team/app{client}")), last);
        for number in builds - 3..builds {
            let image = Image::index(Format::Oci, (7000 + 100 * client + number) as u64, 3000);
            server.pull(&format!("team/app{client}"), &format!("b{number}"), &image);
        }
    }
    server.pull("team/app", "stays", &base);
}
