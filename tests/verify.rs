//! Damaged bytes are never served completely; mirrored blobs are repaired by the next pull, hosted ones are reported by
//! name and repaired by a push, or by an upstream that has them.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    admin,
    fault::Fault,
    hash::hex,
    http::BodyEnd,
    images::{Blob, Format, Image},
    process::CommandResult,
    reachability,
    server::{Server, Setup, entrepot},
    upstream::Upstream,
    wait_until,
};

/// The number of blobs of each sort.
const BLOBS: u64 = 50;

/// Nothing is verified except at the test's request.
fn both(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).variable("REGISTRY_VERIFY_INTERVAL", "0")
}

fn file(data: &Path, digest: &str) -> PathBuf {
    data.join("docker/registry/v2").join(reachability::data(digest))
}

/// The damage to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    CutOff,
    Rewritten,
    /// A byte in it changed, without a change of its metadata.
    Decayed,
}

fn damage(data: &Path, digest: &str, how: Damage) {
    let path = file(data, digest);
    let written = std::fs::metadata(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    match how {
        Damage::CutOff => file.set_len(written.len() - 1).unwrap(),
        Damage::Rewritten => file.write_all_at(&[!byte[0]], 0).unwrap(),
        Damage::Decayed => {
            file.write_all_at(&[!byte[0]], 0).unwrap();
            file.set_modified(written.modified().unwrap()).unwrap();
        }
    }
}

/// The same blobs for a mirrored and a hosted repository, as many for each.
struct ImageSet {
    upstream: Upstream,
    server: Server,
    mirrored: Vec<Blob>,
    hosted: Vec<Blob>,
}

impl ImageSet {
    fn new() -> Self {
        let upstream = Upstream::plain();
        let blobs = |from: u64| (from..from + BLOBS).map(|seed| Blob::noise(seed, 3000)).collect::<Vec<_>>();
        let (mirrored, hosted) = (blobs(10_000), blobs(20_000));
        mirrored.iter().for_each(|blob| upstream.add_blob("library/base", blob));
        let server = both(&upstream).start();
        let stock = Self { upstream, server, mirrored, hosted };
        stock.pulls();
        stock.hosted.iter().for_each(|blob| stock.server.target().blob("team/app", blob));
        stock
    }

    fn pulls(&self) {
        for blob in &self.mirrored {
            let got = self.server.blob("library/base", &blob.digest).send().summary();
            assert_eq!((got.end, &got.digest), (BodyEnd::Complete, &blob.digest));
        }
    }

    fn all(&self) -> impl Iterator<Item = &Blob> {
        self.mirrored.iter().chain(&self.hosted)
    }

    fn verify(&self) -> CommandResult {
        verify(self.server.data(), &["--rate", "1GB"])
    }

    /// The command names each hosted blob with its repository, and exits accordingly; after a push all is well.
    fn heals(&self) {
        let report = self.verify();
        assert_eq!(report.status.code(), Some(3), "{}", report.output);
        for blob in &self.hosted {
            assert!(report.output.contains(&format!("quarantined {} of team/app", blob.digest)), "{}", report.output);
            assert_eq!(self.server.target().head(&format!("team/app/blobs/{}", blob.digest)), 404);
        }
        self.pulls();
        for blob in &self.hosted {
            self.server.target().blob("team/app", blob);
            let got = self.server.blob("team/app", &blob.digest).send().summary();
            assert_eq!((got.end, &got.digest), (BodyEnd::Complete, &blob.digest));
        }
        let report = self.verify().expect_success("verify");
        assert!(report.output.contains(&format!("verified {} blobs", 2 * BLOBS)), "{}", report.output);
        assert_eq!(std::fs::read_dir(self.server.data().join("quarantine")).unwrap().count(), 0);
    }
}

fn verify(data: &Path, arguments: &[&str]) -> CommandResult {
    entrepot(&[&["verify", "--data", data.to_str().unwrap()], arguments].concat(), &[])
}

/// 100 stored blobs, cut off or rewritten.
#[test]
fn what_changed_on_disk_is_not_served() {
    let stock = ImageSet::new();
    for (number, blob) in stock.all().enumerate() {
        let how = if number % 2 == 0 { Damage::CutOff } else { Damage::Rewritten };
        damage(stock.server.data(), &blob.digest, how);
    }
    for blob in &stock.hosted {
        let got = stock.server.blob("team/app", &blob.digest).send();
        assert_eq!(got.status, 404);
        let logged = format!("{} of team/app was damaged", blob.digest);
        wait_until("a word of it", Duration::from_secs(10), || stock.server.log().contains(&logged));
    }
    stock.pulls();
    assert_eq!(stock.server.target().head(&format!("team/app/blobs/{}", stock.hosted[0].digest)), 404);
    stock.heals();
}

/// Bytes that changed without the filesystem's notice: the next verification finds them, with the same outcome.
#[test]
fn decay_is_found_by_the_next_verification() {
    let stock = ImageSet::new();
    stock.all().for_each(|blob| damage(stock.server.data(), &blob.digest, Damage::Decayed));
    let fetched = stock.upstream.requests().len();
    stock.heals();
    assert!(stock.upstream.requests().len() >= fetched + stock.mirrored.len(), "each was fetched again");
}

/// A damaged manifest is not in memory either: a client that checks for it is logged to push it.
#[test]
fn a_manifest_heals_by_a_push() {
    let server = Setup::hosting().variable("REGISTRY_VERIFY_INTERVAL", "0").start();
    let (target, image) = (server.target(), Image::single(Format::Oci, 1));
    target.image("team/app", "1", &image);
    server.pull("team/app", "1", &image);
    damage(server.data(), image.digest(), Damage::Decayed);
    let report = verify(server.data(), &["--json"]);
    assert_eq!(report.status.code(), Some(3));
    let damaged: Vec<Value> = report.output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let expected = json!({
        "answer": "damaged", "digest": image.digest(), "repositories": ["team/app"], "outcome": "quarantined",
    });
    assert_eq!(damaged[0], expected);
    assert_eq!(target.head("team/app/manifests/1"), 404);
    assert_eq!(target.manifest("team/app", "1", &image.top).status, 201);
    server.pull("team/app", "1", &image);
    verify(server.data(), &[]).expect_success("verify");
}

/// Content that an upstream has too is fetched from there: layers and manifests of promoted content.
#[test]
fn an_upstream_restores_what_was_pushed() {
    let (upstream, image) = (Upstream::plain(), Image::single(Format::Docker, 2));
    upstream.add("library/base", "1", &image);
    let mut server = both(&upstream).start();
    server.pull("library/base", "1", &image);
    let target = server.target();
    for blob in &image.blobs {
        assert_eq!(target.mount("team/app", &blob.digest, Some("library/base")).status, 201);
    }
    assert_eq!(target.manifest("team/app", "1", &image.top).status, 201);
    for digest in image.blobs.iter().map(|blob| blob.digest.as_str()).chain([image.digest()]) {
        damage(server.data(), digest, Damage::Decayed);
    }
    let report = verify(server.data(), &[]).expect_success("verify");
    assert!(report.output.contains("3 restored, 0 in quarantine"), "{}", report.output);
    upstream.stop();
    server.restart();
    server.pull("team/app", "1", &image);
}

/// Mirrored content is hashed before it becomes hosted: damaged bytes cannot be mounted.
#[test]
fn what_decayed_is_not_mounted() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(9, 5000));
    upstream.add_blob("library/base", &blob);
    let server = both(&upstream).start();
    assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    damage(server.data(), &blob.digest, Damage::Decayed);
    assert_eq!(server.target().mount("team/app", &blob.digest, Some("library/base")).status, 202);
    server.target().blob("team/app", &blob);
    for repository in ["team/app", "library/base"] {
        assert_eq!(server.blob(repository, &blob.digest).send().summary().digest, blob.digest, "{repository}");
    }
}

/// A pull through the mirror restores it as well, and it is hosted again: never evicted.
#[test]
fn a_pull_restores_what_was_pushed() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(8, 70_000));
    upstream.add_blob("library/base", &blob);
    let server = both(&upstream).start();
    server.target().blob("team/app", &blob);
    assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    damage(server.data(), &blob.digest, Damage::Rewritten);
    assert_eq!(server.blob("team/app", &blob.digest).send().status, 404);
    assert_eq!(server.target().mount("team/other", &blob.digest, None).status, 202, "it is not here");
    assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
    assert_eq!(server.blob("team/app", &blob.digest).send().summary().digest, blob.digest);
    assert_eq!(server.target().mount("team/other", &blob.digest, None).status, 201, "it is ours again");
    assert_eq!(std::fs::read_dir(server.data().join("quarantine")).unwrap().count(), 0);
}

/// A small blob stays in memory after it was served, and is hashed when its file is read again.
#[test]
fn a_small_blob_is_right_whatever_its_file_has() {
    let (upstream, blob) = (Upstream::plain(), Blob::noise(80, 5000));
    upstream.add_blob("library/base", &blob);
    let mut server = both(&upstream).start();
    for damaged in [Damage::Decayed, Damage::Rewritten] {
        for _ in 0..3 {
            assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest);
        }
        damage(server.data(), &blob.digest, damaged);
        assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest, "in memory");
        // After a kill every file would be hashed before it is read.
        server.stop();
        server.restart();
        assert_eq!(server.blob("library/base", &blob.digest).send().summary().digest, blob.digest, "fetched again");
    }
}

/// Scheduled verification.
#[test]
fn a_server_verifies_by_itself() {
    let mut server = Setup::hosting().variable("REGISTRY_VERIFY_INTERVAL", "2s").start();
    let blob = Blob::noise(3, 5000);
    server.target().blob("team/app", &blob);
    damage(server.data(), &blob.digest, Damage::Decayed);
    server.wait_for_log(&format!("{} of team/app was damaged", blob.digest), Duration::from_secs(20));
    wait_until("it to be set aside", Duration::from_secs(5), || {
        server.target().head(&format!("team/app/blobs/{}", blob.digest)) == 404
    });
}

/// Without a server the command works alone; it cannot fetch, and names the content that a push would repair.
#[test]
fn the_command_works_alone() {
    let upstream = Upstream::plain();
    let (image, cached) = (Image::single(Format::Oci, 4), Blob::noise(5, 5000));
    upstream.add_blob("library/base", &cached);
    let mut server = both(&upstream).start();
    server.target().image("team/app", "1", &image);
    assert_eq!(server.blob("library/base", &cached.digest).send().summary().digest, cached.digest);
    server.stop();
    verify(server.data(), &[]).expect_success("verify");
    for digest in [&image.layer().digest, &cached.digest] {
        damage(server.data(), digest, Damage::Decayed);
    }
    let report = verify(server.data(), &[]);
    assert_eq!(report.status.code(), Some(3), "{}", report.output);
    assert!(report.output.contains(&format!("quarantined {} of team/app", image.layer().digest)), "{}", report.output);
    assert!(
        report.output.contains(&format!("dropped {} of docker.io/library/base", cached.digest)),
        "{}",
        report.output
    );
    server.restart();
    assert_eq!(server.blob("library/base", &cached.digest).send().summary().digest, cached.digest);
    server.target().blob("team/app", image.layer());
    server.pull("team/app", "1", &image);
}

/// The index is rebuilt from the disk, during requests and without a server.
#[test]
fn the_index_is_made_anew() {
    let (upstream, image, pushed) =
        (Upstream::plain(), Image::single(Format::Oci, 6), Image::index(Format::Oci, 7, 5000));
    upstream.add("library/base", "1", &image);
    let mut server = both(&upstream).freshness("1h").start();
    server.pull("library/base", "1", &image);
    server.target().image("team/app", "1", &pushed);
    let asked = upstream.counted();
    for alone in [false, true] {
        if alone {
            server.stop();
        }
        let report = verify(server.data(), &["--rebuild-index"]).expect_success("rebuild");
        assert!(report.output.contains("the index is made anew"), "{}", report.output);
        if alone {
            server.restart();
        }
        server.pull("library/base", "1", &image);
        server.pull("team/app", "1", &pushed);
        assert_eq!(server.target().json("_catalog")["repositories"], json!(["team/app"]));
    }
    assert_eq!(upstream.counted(), asked, "nothing cached is fetched twice");
    let answers = admin::ask(server.data(), &json!({ "request": "rebuild_index" }));
    assert_eq!(answers, [json!({ "answer": "rebuilt" })]);
}

/// Bytes that cannot be read at the moment are not damaged: they stay in place, and are reported.
#[test]
fn what_cannot_be_read_is_not_damaged() {
    let (upstream, image, cached) = (Upstream::plain(), Image::single(Format::Oci, 11), Blob::noise(12, 5000));
    upstream.add_blob("library/base", &cached);
    let mut server = both(&upstream).start();
    server.target().image("team/app", "1", &image);
    assert_eq!(server.blob("library/base", &cached.digest).send().summary().digest, cached.digest);
    server.stop();
    let data = server.data().to_str().unwrap().to_owned();
    for digest in [image.digest(), &image.layer().digest, &cached.digest] {
        let path = file(server.data(), digest);
        let faulty = Fault::always("pread64", "EIO", &path).run(&["verify", "--data", &data], &[]);
        assert!(faulty.happened(), "{path:?} was not read");
        let report = faulty.outcome;
        assert_eq!(report.status.code(), Some(1), "{}", report.output);
        assert!(report.output.contains(path.to_str().unwrap()), "{}", report.output);
        assert!(path.is_file(), "{path:?} stays: {}", report.output);
    }
    verify(server.data(), &[]).expect_success("verify");
    let fetched = upstream.requests().len();
    server.restart();
    server.pull("team/app", "1", &image);
    assert_eq!(server.blob("library/base", &cached.digest).send().summary().digest, cached.digest);
    assert_eq!(upstream.requests().len(), fetched, "nothing had to be fetched again");
}

/// Quarantined content that is right after all is restored without a push; wrong content stays there.
#[test]
fn what_was_set_aside_and_is_right_is_taken_back() {
    let mut server = Setup::hosting().variable("REGISTRY_VERIFY_INTERVAL", "0").start();
    let images = [Image::single(Format::Oci, 13), Image::single(Format::Oci, 14)];
    server.target().image("team/app", "1", &images[0]);
    server.target().image("team/app", "2", &images[1]);
    damage(server.data(), &images[1].layer().digest, Damage::Decayed);
    let quarantine = server.data().join("quarantine");
    std::fs::create_dir_all(&quarantine).unwrap();
    let digests = [images[0].digest(), &images[0].layer().digest, &images[1].layer().digest];
    for alone in [false, true] {
        if alone {
            server.stop();
        }
        for digest in digests {
            let aside = quarantine.join(format!("sha256-{}", hex(digest)));
            if !aside.is_file() {
                std::fs::rename(file(server.data(), digest), aside).unwrap();
            }
        }
        let report = verify(server.data(), &[]);
        assert_eq!(report.status.code(), Some(3), "one is damaged: {}", report.output);
        assert!(report.output.contains("2 restored, 1 in quarantine"), "{}", report.output);
        assert_eq!(std::fs::read_dir(&quarantine).unwrap().count(), 1);
        if alone {
            server.restart();
        }
        server.pull("team/app", "1", &images[0]);
        assert_eq!(server.target().head(&format!("team/app/blobs/{}", images[1].layer().digest)), 404);
    }
}
