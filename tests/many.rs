//! Many concurrent pushes, and many tags and repositories.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    hash::{hex, sha256},
    images::{Blob, Format, Manifest},
    rounds, scratch,
    server::{Server, Setup},
    uploads::{OCTETS, Target},
};

const MIB: u64 = 1 << 20;

/// Two hundred clients push the same layer at once, by every method and to many repositories: all are acknowledged, one
/// copy is on the disk, and the memory for each does not depend on the layer's size.
#[test]
fn two_hundred_push_the_same_layer() {
    let (server, blob) = (Setup::hosting().start(), Blob::noise(200, 3 << 20));
    let target = server.target();
    thread::scope(|scope| {
        for number in 0..200 {
            let (target, blob) = (&target, &blob);
            scope.spawn(move || push(target, &format!("team/app{}", number % 10), blob, number));
        }
    });
    let files = scratch::files(server.data()).into_iter().filter(|path| !path.starts_with("index"));
    let large = |path: &PathBuf| server.data().join(path).metadata().is_ok_and(|file| file.len() > MIB);
    let copies: Vec<_> = files.filter(large).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    for number in 0..10 {
        let got = server.blob(&format!("team/app{number}"), &blob.digest).send();
        assert_eq!((got.status, got.summary().digest.as_str()), (200, &*blob.digest));
    }
    // Each holds a batch being written, one being filled, and the bytes its connection has read: not its layer.
    let (peak, most) = (server.peak_memory(), 32 * MIB + 200 * (3 * MIB / 4));
    assert!(peak < most, "{peak} bytes of memory for 200 pushes of {} bytes", blob.len());
}

fn push(target: &Target, repository: &str, blob: &Blob, way: usize) {
    let uploads = format!("{repository}/blobs/uploads/?digest={}", blob.digest);
    let status = match way % 3 {
        0 => target.request("POST", &uploads).body(OCTETS, &blob.bytes).send().status,
        1 => target.begin(repository).put(&blob.digest, &blob.bytes).status,
        _ => {
            let mut session = target.begin(repository);
            assert_eq!(session.patch(None, &blob.bytes).status, 202);
            session.put(&blob.digest, b"").status
        }
    };
    assert_eq!(status, 201, "push {way}");
}

/// A tmpfs at a server's data directory. Unmounted on drop.
struct InMemory(PathBuf);

impl InMemory {
    fn at(path: &Path) -> Self {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "nr_inodes=0", "entrepot"]).arg(path).status();
        assert!(mount.unwrap().success(), "a tmpfs is mounted");
        Self(path.to_owned())
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A volume that another program wrote: one manifest, and as many names for it as are wanted.
struct Seed {
    volume: PathBuf,
    digest: String,
}

impl Seed {
    fn new(data: &Path) -> Self {
        let empty = Blob::new(b"{}".as_slice());
        let config = empty.descriptor("application/vnd.oci.empty.v1+json");
        let body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.manifest(), "config": config, "layers": [] });
        let manifest = Manifest::new(Format::Oci.manifest(), &body);
        let seed = Self { volume: data.join("docker/registry/v2"), digest: manifest.digest.clone() };
        for (digest, bytes) in [(&empty.digest, &empty.bytes), (&manifest.digest, &manifest.bytes)] {
            assert_eq!(sha256(bytes), *digest);
            seed.write(&format!("blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest)), bytes);
        }
        seed
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.volume.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn link(&self, path: &str) {
        self.write(path, self.digest.as_bytes());
    }

    fn repository(&self, name: &str) {
        self.link(&format!("repositories/{name}/_manifests/revisions/sha256/{}/link", hex(&self.digest)));
        let empty = sha256(b"{}");
        self.write(&format!("repositories/{name}/_layers/sha256/{}/link", hex(&empty)), empty.as_bytes());
        self.tag(name, "latest");
    }

    fn tag(&self, name: &str, tag: &str) {
        self.link(&format!("repositories/{name}/_manifests/tags/{tag}/current/link"));
    }
}

/// Pages of a hundred from all over the list take less than 10 ms each, and the list is complete. The median is
/// compared: other processes use this machine too.
fn pages_are_quick(server: &mut Server, list: &str, key: &str, names: &[String]) {
    server.wait_for_log("index rebuilt", Duration::from_secs(120));
    let target = server.target();
    let page = |last: &str| {
        let (path, start) = (format!("{list}?n=100&last={}", last.replace('/', "%2F")), Instant::now());
        let found = target.json(&path)[key].as_array().unwrap().clone();
        (found, start.elapsed())
    };
    page("");
    let before = server.forget_peak_memory();
    let mut times = Vec::new();
    for step in 0..40 {
        let at = step * (names.len() - 101) / 40;
        let (found, took) = page(&names[at]);
        assert_eq!(found, names[at + 1..at + 101], "after {}", names[at]);
        times.push(took);
    }
    times.sort_unstable();
    assert!(times[20] < Duration::from_millis(10), "a page of 100 takes {:?}", times[20]);
    assert_eq!(target.pages(&format!("{list}?n=1000"), key).0, names);
    let more = server.peak_above(before);
    assert!(more < 16 * MIB, "{more} bytes more for reading the list");
}

/// 100,000 tags.
#[test]
fn a_repository_has_many_tags() {
    let setup = Setup::hosting();
    let _memory = InMemory::at(setup.data());
    let seed = Seed::new(setup.data());
    seed.repository("team/tags");
    let mut names: Vec<_> = (0..rounds(100_000)).map(|number| format!("build-{}", number * 7919 % 1_000_003)).collect();
    names.iter().for_each(|name| seed.tag("team/tags", name));
    names.push("latest".into());
    names.sort();
    let mut server = setup.clone().variable("REGISTRY_LOG_LEVEL", "debug").start();
    pages_are_quick(&mut server, "team/tags/tags/list", "tags", &names);
    let put = server.target().request("PUT", "team/tags/manifests/zzz");
    let bytes = server.manifest("team/tags", "latest").send().body().bytes;
    assert_eq!(put.body(Format::Oci.manifest(), &bytes).send().status, 201);
    assert_eq!(server.target().json("team/tags/tags/list?last=latest")["tags"], json!(["zzz"]), "seen at once");
}

/// 100,000 repositories.
#[test]
fn a_registry_has_many_repositories() {
    let setup = Setup::hosting();
    let _memory = InMemory::at(setup.data());
    let seed = Seed::new(setup.data());
    let mut names: Vec<_> = (0..rounds(100_000)).map(|number| format!("r{}/s{}", number % 97, number)).collect();
    names.iter().for_each(|name| seed.repository(name));
    names.sort();
    let mut server = setup.clone().variable("REGISTRY_LOG_LEVEL", "debug").start();
    pages_are_quick(&mut server, "_catalog", "repositories", &names);
}
