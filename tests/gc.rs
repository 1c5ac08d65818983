//! Garbage collection under load: acknowledged content that is tagged or about to be tagged stays; all other content is
//! removed. The volume check reads the disk (`support::reachability`).

use std::{
    fs,
    io::Write as _,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    admin,
    hash::sha256,
    images::{Blob, Format, Image},
    process::CommandResult,
    reachability::{self, holds_what_tags_reach},
    registry2::OnVolume,
    rounds,
    server::{Server, Setup, entrepot},
    uploads::Target,
    upstream::Upstream,
    wait_until,
};

const PUSHES: usize = 200;
/// Pushes that share a repository.
const SHARING: usize = 10;

/// Nothing is collected except at the test's request.
fn hosting() -> Setup {
    Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0")
}

/// One image of a round: all images of the round share its largest layer, so that it is found, not uploaded.
struct Push {
    repository: String,
    tag: String,
    image: Image,
}

impl Push {
    fn new(round: usize, number: usize) -> Self {
        let (repository, tag) = (format!("team/r{round}/app{}", number / SHARING), format!("t{number}"));
        let mut image = Image::single(Format::Oci, (round * PUSHES + number) as u64);
        let base = Image::of_size(Format::Oci, 1_000_000 + round as u64 / 2, 30_000).blobs.remove(0);
        let mut document: Value = serde_json::from_slice(&image.top.bytes).unwrap();
        document["layers"].as_array_mut().unwrap().push(base.descriptor(Format::Oci.layer()));
        image.top = crate::support::images::Manifest::new(Format::Oci.manifest(), &document);
        image.blobs.push(base);
        Self { repository, tag, image }
    }

    /// Pushes as docker does: a blob that a HEAD finds is not uploaded again, and some are mounted.
    fn run(&self, target: &Target, number: usize) {
        for blob in &self.image.blobs {
            let path = format!("{}/blobs/{}", self.repository, blob.digest);
            if number % 3 == 1 {
                let mounted = target.mount(&self.repository, &blob.digest, None);
                if mounted.status != 201 {
                    assert_eq!(target.session(&mounted).put(&blob.digest, &blob.bytes).status, 201);
                }
            } else if target.head(&path) != 200 {
                target.blob(&self.repository, blob);
            }
        }
        let put = target.manifest(&self.repository, &self.tag, &self.image.top);
        assert_eq!(put.status, 201, "all that {}:{} names was acknowledged", self.repository, self.tag);
    }

    /// Deletes it again, by one of several methods; returns `false` for images that stay.
    fn undo(&self, target: &Target, number: usize) -> bool {
        let path = match number % 4 {
            0 => format!("{}/manifests/{}", self.repository, self.tag),
            1 => format!("{}/manifests/{}", self.repository, self.image.digest()),
            _ => return false,
        };
        assert_eq!(target.delete(&path), 202, "{path}");
        true
    }
}

/// Collections in a loop during 200 parallel pushes with deletes.
#[test]
fn nothing_that_is_tagged_is_lost() {
    let server = hosting().variable("REGISTRY_GC_GRACE", "10s").start();
    let (stop, collected) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut standing: Vec<(usize, Push)> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let ended = admin::gc(server.data(), true, None);
                collected.fetch_add(ended["blobs"].as_u64().unwrap(), Ordering::SeqCst);
            }
        });
        let stopping = StopOnDrop(&stop);
        for round in 0..rounds(50) {
            push_and_delete(&server, round, &mut standing);
        }
        let expected = (rounds(50) as u64).saturating_sub(1) * PUSHES as u64 / 4;
        wait_until("the loop to collect what was deleted", Duration::from_secs(60), || {
            collected.load(Ordering::SeqCst) >= expected
        });
        drop(stopping);
    });
    for (_, push) in &standing {
        server.pull(&push.repository, &push.tag, &push.image);
    }
    admin::gc(server.data(), true, Some(0));
    holds_what_tags_reach(server.data());
    for (_, push) in &standing {
        server.pull(&push.repository, &push.tag, &push.image);
    }
}

/// Stops the loop if the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A round's pushes, all at once; as many threads delete images of earlier rounds.
fn push_and_delete(server: &Server, round: usize, standing: &mut Vec<(usize, Push)>) {
    let pushes: Vec<_> = (0..PUSHES).map(|number| (number, Push::new(round, number))).collect();
    let before = std::mem::take(standing);
    thread::scope(|scope| {
        for (number, push) in &pushes {
            scope.spawn(move || push.run(&server.target(), *number));
        }
        let deleting = scope.spawn(|| {
            before.into_iter().filter(|(number, push)| !push.undo(&server.target(), *number)).collect::<Vec<_>>()
        });
        // A few of the images that stay from earlier rounds are checked.
        let mut rest = deleting.join().unwrap();
        rest.drain(..rest.len().saturating_sub(300));
        *standing = rest;
    });
    let (number, push) = &pushes[round % PUSHES];
    server.pull(&push.repository, &push.tag, &push.image);
    assert!(*number < PUSHES);
    standing.extend(pushes);
}

/// An uploaded blob stays for the grace period without a manifest; then it is removed.
#[test]
fn a_blob_waits_for_its_manifest() {
    let server = hosting().start();
    let (target, image, orphan) = (server.target(), Image::single(Format::Oci, 1), Blob::noise(2, 5000));
    image.blobs.iter().for_each(|blob| target.blob("team/app", blob));
    let ended = admin::gc(server.data(), true, None);
    assert_eq!((&ended["blobs"], &ended["active"]), (&json!(0), &json!(1)), "{ended}");
    assert_eq!(target.manifest("team/app", "1", &image.top).status, 201);
    target.blob("team/app", &orphan);
    assert_eq!(admin::gc(server.data(), true, Some(0))["blobs"], 1);
    assert_eq!(target.head(&format!("team/app/blobs/{}", orphan.digest)), 404);
    server.pull("team/app", "1", &image);
    holds_what_tags_reach(server.data());
    target.blob("team/app", &orphan);
    assert_eq!(target.head(&format!("team/app/blobs/{}", orphan.digest)), 200, "it may come again");
}

/// Content stays for a client that was told of its presence: by a HEAD, by a mount, by a HEAD of a manifest.
#[test]
fn what_was_promised_stays() {
    let server = hosting().variable("REGISTRY_GC_GRACE", "3s").start();
    let target = server.target();
    let (one, two) = (Image::single(Format::Oci, 10), Image::single(Format::Oci, 11));
    let (three, index) = (Image::single(Format::Oci, 12), Image::index(Format::Oci, 13, 5000));
    for (tag, image) in [("1", &one), ("2", &two), ("3", &three), ("4", &index)] {
        target.image("team/app", tag, image);
        assert_eq!(target.delete(&format!("team/app/manifests/{tag}")), 202);
    }
    thread::sleep(Duration::from_millis(3500));
    for blob in &one.blobs {
        assert_eq!(target.head(&format!("team/app/blobs/{}", blob.digest)), 200);
        assert_eq!(target.mount("team/other", &two.blobs[0].digest, Some("team/app")).status, 201);
    }
    assert_eq!(target.head(&format!("team/app/manifests/{}", index.digest())), 200);
    let ended = admin::gc(server.data(), true, None);
    assert_eq!((&ended["manifests"], &ended["blobs"]), (&json!(3), &json!(6)), "{ended}");
    let path = |blob: &Blob| format!("team/app/blobs/{}", blob.digest);
    assert!(three.blobs.iter().all(|blob| target.head(&path(blob)) == 404));
    assert_eq!(target.manifest("team/app", "1", &one.top).status, 201);
    assert_eq!(target.manifest("team/app", "4", &index.top).status, 201);
    server.pull("team/app", "1", &one);
    server.pull("team/app", "4", &index);
    target.blob("team/other", &two.blobs[1]);
    assert_eq!(target.manifest("team/other", "2", &two.top).status, 201);
    server.pull("team/other", "2", &two);
    admin::gc(server.data(), true, Some(0));
    holds_what_tags_reach(server.data());
}

/// A repository that is pushed to all the time is collected all the same; what its pushes rely on stays.
#[test]
fn a_busy_repository_is_collected() {
    let server = hosting().variable("REGISTRY_GC_GRACE", "2s").start();
    let (target, gone) = (server.target(), Image::single(Format::Oci, 70));
    target.image("team/busy", "gone", &gone);
    assert_eq!(target.delete("team/busy/manifests/gone"), 202);
    let mut collected = Value::Null;
    for number in 0..40 {
        let next = Image::single(Format::Oci, 7100 + number);
        target.image("team/busy", &format!("t{number}"), &next);
        thread::sleep(Duration::from_millis(100));
        let ended = admin::gc(server.data(), true, None);
        if ended["blobs"] != 0 {
            collected = ended;
        }
        server.pull("team/busy", &format!("t{number}"), &next);
    }
    assert_eq!((&collected["manifests"], &collected["blobs"]), (&json!(1), &json!(3)), "{collected}");
    holds_what_tags_reach(server.data());
}

/// A start counts as activity: the client of an earlier upload may continue.
#[test]
fn a_restart_takes_nothing_from_a_push() {
    let mut server = hosting().start();
    let image = Image::single(Format::Oci, 20);
    image.blobs.iter().for_each(|blob| server.target().blob("team/app", blob));
    server.kill9();
    server.restart();
    assert_eq!(admin::gc(server.data(), true, None)["blobs"], 0);
    assert_eq!(server.target().manifest("team/app", "1", &image.top).status, 201);
}

/// Scheduled collection.
#[test]
fn a_server_collects_by_itself() {
    let server = Setup::hosting()
        .variable("REGISTRY_GC_INTERVAL", "1s")
        .variable("REGISTRY_GC_GRACE", "1s")
        .variable("REGISTRY_GC_UNTAGGED", "true")
        .start();
    let (target, kept, gone) = (server.target(), Image::single(Format::Oci, 30), Image::index(Format::Oci, 31, 5000));
    target.image("team/app", "1", &gone);
    target.image("team/app", "1", &kept);
    let bytes = server.data().join("docker/registry/v2").join(crate::support::reachability::data(gone.digest()));
    assert!(bytes.exists());
    wait_until("what the tag named before to go", Duration::from_secs(20), || !bytes.exists());
    assert_eq!(target.head(&format!("team/app/manifests/{}", gone.digest())), 404);
    server.pull("team/app", "1", &kept);
}

/// Mirrored content is not collected: it stays, and content promoted from it stays for the mirror.
#[test]
fn mirrored_content_stays() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Docker, 40));
    upstream.add("library/base", "1", &image);
    let server = Setup::both(&upstream.url()).variable("REGISTRY_GC_INTERVAL", "0").start();
    server.pull("library/base", "1", &image);
    let target = server.target();
    for blob in &image.blobs {
        assert_eq!(target.mount("team/app", &blob.digest, Some("library/base")).status, 201);
    }
    assert_eq!(target.manifest("team/app", "1", &image.top).status, 201);
    assert_eq!(target.delete("team/app/manifests/1"), 202);
    let ended = admin::gc(server.data(), true, Some(0));
    assert_eq!((&ended["manifests"], &ended["links"], &ended["blobs"]), (&json!(1), &json!(2), &json!(0)), "{ended}");
    upstream.stop();
    server.pull("library/base", "1", &image);
    holds_what_tags_reach_but_mirrored(&server, &image);
}

fn holds_what_tags_reach_but_mirrored(server: &Server, image: &Image) {
    let blobs = server.data().join("docker/registry/v2");
    for digest in image.blobs.iter().map(|blob| blob.digest.as_str()).chain([image.digest()]) {
        assert!(blobs.join(crate::support::reachability::data(digest)).is_file(), "{digest}");
    }
    assert!(crate::support::reachability::reached(server.data()).is_empty());
}

fn gc(data: &Path, arguments: &[&str]) -> CommandResult {
    let data = data.to_str().unwrap();
    entrepot(&[&["gc", "--data", data], arguments].concat(), &[])
}

/// The command's output, for people and for programs: plan, progress and result.
#[test]
fn the_command_lists_what_it_removes() {
    let mut server = hosting().start();
    let (target, kept, gone) = (server.target(), Image::single(Format::Oci, 50), Image::single(Format::Oci, 51));
    target.image("team/app", "1", &kept);
    target.image("team/app", "2", &gone);
    assert_eq!(target.delete("team/app/manifests/2"), 202);
    let early = gc(server.data(), &["--untagged"]).expect_success("gc");
    assert!(early.output.contains("removed 0 manifests") && early.output.contains("left alone"), "{}", early.output);
    let now = ["--untagged", "--grace", "0s"];
    let dry = gc(server.data(), &[&now[..], &["--dry-run"]].concat()).expect_success("gc");
    let digests = gone.blobs.iter().map(|blob| blob.digest.as_str()).chain([gone.digest()]);
    for digest in digests.clone() {
        assert!(dry.output.contains(&format!("would remove blob {digest}")), "{}", dry.output);
    }
    assert!(dry.output.contains(&format!("would remove manifest team/app@{}", gone.digest())), "{}", dry.output);
    assert!(digests.clone().all(|digest| target.head(&format!("team/app/blobs/{digest}")) == 200));

    // Those HEADs protect content: a server that has just started protects none.
    server.restart();
    let wet = gc(server.data(), &[&now[..], &["--json"]].concat()).expect_success("gc");
    let lines: Vec<Value> = wet.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "a manifest, three blobs, the sum: {}", wet.output);
    assert_eq!((&lines[4]["answer"], &lines[4]["blobs"]), (&json!("collected"), &json!(3)));
    server.pull("team/app", "1", &kept);
    holds_what_tags_reach(server.data());
}

/// With the server stopped the command works alone, also in the spelling of `registry:2`; registry:2 can read the
/// volume afterwards.
#[test]
fn the_command_works_alone() {
    let mut server = hosting().start();
    let (kept, gone) = (Image::index(Format::Docker, 60, 5000), Image::single(Format::Docker, 61));
    server.target().image("team/app", "1", &kept);
    server.target().image("team/app", "2", &gone);
    server.target().image("team/gone", "1", &gone);
    assert_eq!(server.target().delete("team/app/manifests/2"), 202);
    assert_eq!(server.target().delete(&format!("team/gone/manifests/{}", gone.digest())), 202);
    let data = server.data().to_str().unwrap().to_owned();
    let spelt = ["garbage-collect", "--delete-untagged=true", "--dry-run", "--data", &data];
    let asked = entrepot(&spelt, &[]).expect_success("garbage-collect with a server");
    assert!(asked.output.contains("would remove 0 manifests"), "{}", asked.output);
    server.stop();
    let alone = entrepot(&["garbage-collect", "-m", "--data", &data], &[]).expect_success("garbage-collect");
    assert!(alone.output.contains("removed 1 manifests, 4 links, 3 blobs"), "{}", alone.output);
    holds_what_tags_reach(server.data());
    let theirs = OnVolume::start(server.data());
    for blob in &kept.blobs {
        assert_eq!(theirs.target().head(&format!("team/app/blobs/{}", blob.digest)), 200);
    }
    drop(theirs);
    server.restart();
    server.pull("team/app", "1", &kept);
    server.target().image("team/gone", "1", &gone);
    server.pull("team/gone", "1", &gone);
    assert_eq!(gc(&server.data().join("nowhere"), &[]).status.code(), Some(2));
}

/// The socket has mode 0600, is removed when the server stops, and a stale one is replaced.
#[test]
fn the_socket_is_its_owner_s() {
    let mut server = hosting().start();
    let socket = admin::socket(server.data());
    let mode = || std::fs::symlink_metadata(&socket).unwrap();
    assert!(mode().file_type().is_socket() && mode().permissions().mode() & 0o777 == 0o600);
    for wrong in [json!({}), json!({ "request": "rm" }), json!("gc")] {
        let answers = admin::ask(server.data(), &wrong);
        assert!(answers.len() == 1 && answers[0]["answer"] == "failed", "{answers:?}");
    }
    server.kill9();
    assert!(socket.exists());
    server.restart();
    assert_eq!(admin::gc(server.data(), false, None)["blobs"], 0);
    server.stop();
    assert!(!socket.exists());
}

/// A command that stops reading is disconnected after a time limit: its collection continues, and the next one can
/// begin.
#[test]
fn a_command_that_reads_nothing_holds_no_collection() {
    let mut server = Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0").start();
    server.stop();
    let orphans: Vec<_> = (0..2000_u32)
        .map(|number| {
            let bytes = number.to_be_bytes();
            let path = server.data().join("docker/registry/v2").join(reachability::data(&sha256(&bytes)));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    server.restart();
    let mut silent = UnixStream::connect(admin::socket(server.data())).unwrap();
    let request = json!({ "request": "gc", "untagged": false, "dry_run": false, "grace": 0 });
    silent.write_all(format!("{request}\n").as_bytes()).unwrap();
    wait_until("it to go on by itself", Duration::from_secs(60), || orphans.iter().all(|orphan| !orphan.exists()));
    wait_until("the next one", Duration::from_secs(20), || {
        admin::ask(server.data(), &request).pop().unwrap()["answer"] == "collected"
    });
    drop(silent);
}
