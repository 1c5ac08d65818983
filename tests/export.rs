//! `entrepot export`: archives that docker and skopeo read, whole or not there.

use std::{
    collections::BTreeMap,
    fs::{self, FileTimes},
    io::Read as _,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    clients::{Docker, Skopeo},
    egress_trap::EgressTrap,
    hash::{hex, sha256, sha512},
    images::{Blob, Format, Image},
    process::{self, CommandResult},
    release::Release,
    scratch,
    server::{BINARY, Server, Setup, entrepot},
    upstream::{Cut, Fault, Gate, Kind, Rule, Upstream},
    wait_until,
};

const LONG: Duration = Duration::from_secs(60);

fn export(server: &Server, arguments: &[&str]) -> CommandResult {
    entrepot(&[&["export", "--data", server.data().to_str().unwrap()], arguments].concat(), &[])
}

/// Exports into a file.
fn written(server: &Server, file: &Path, arguments: &[&str]) {
    let exported = export(server, &[&["--output", file.to_str().unwrap()], arguments].concat());
    exported.expect_success("export");
}

/// The content of an archive, by name; each name occurs once.
fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, mut bytes) = (entry.path().unwrap().to_str().unwrap().to_owned(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        assert!(entries.insert(name.clone(), bytes).is_none(), "{name} twice");
    }
    entries
}

fn json(entries: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&entries[name]).unwrap()
}

/// The digest of an image's configuration, as skopeo finds it in an archive.
fn config_by_skopeo(skopeo: &Skopeo, source: &str) -> String {
    let (copied, dir) = skopeo.copy(&[], source);
    copied.expect_success(source);
    let manifest: Value = serde_json::from_slice(&fs::read(dir.path().join("manifest.json")).unwrap()).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

/// A name in a fresh directory.
fn target() -> (tempfile::TempDir, PathBuf) {
    let dir = scratch::dir("archive");
    let file = dir.path().join("images.tar");
    (dir, file)
}

/// An image for two platforms, and one for one.
struct Pair {
    upstream: Upstream,
    index: Image,
    single: Image,
}

impl Pair {
    fn new(format: Format, seed: u64) -> Self {
        let (upstream, index) = (Upstream::plain(), Image::index(format, seed, 200_000));
        let single = Image::single(Format::Oci, seed + 5);
        upstream.add("library/app", "1", &index);
        upstream.add("org/single", "2", &single);
        Self { upstream, index, single }
    }
}

/// docker 20.10 and 28, and skopeo by both kinds of archives, get the images with their names.
#[test]
fn an_archive_is_read_by_docker_and_skopeo() {
    let (pair, trap, (_dir, file)) = (Pair::new(Format::Docker, 9900), EgressTrap::new(), target());
    let server = Server::mirroring(&pair.upstream);
    written(&server, &file, &["--platform", "linux/amd64", "app:1", "org/single:2", "docker.io/library/app:1"]);
    let entries = entries(&fs::read(&file).unwrap());
    let (index, docker) = (json(&entries, "index.json"), json(&entries, "manifest.json"));
    let names = |key: &str| -> Vec<_> {
        let entries = index["manifests"].as_array().unwrap();
        entries.iter().map(|entry| entry["annotations"][key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("io.containerd.image.name"), ["docker.io/library/app:1", "docker.io/org/single:2"]);
    assert_eq!(names("org.opencontainers.image.ref.name"), ["1", "2"]);
    assert_eq!(index["manifests"][0]["digest"], pair.index.children[0].digest.as_str());
    assert_eq!(docker.as_array().unwrap().len(), 2);
    for (name, bytes) in entries.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        assert_eq!(hex(&sha256(bytes)), name.rsplit('/').next().unwrap());
    }
    let alone = file.with_file_name("alone.tar");
    let dockers =
        [Release::Installed, Release::sid()].map(|release| Docker::start("http://127.0.0.1:1", &trap, release));
    let skopeo = Skopeo::new("http://127.0.0.1:1", &trap);
    for (name, image) in [("docker.io/library/app:1", &pair.index), ("docker.io/org/single:2", &pair.single)] {
        dockers.iter().for_each(|docker| assert_eq!(docker.load(&file, name), image.config, "{name}"));
        let source = format!("docker-archive:{}:{name}", file.display());
        assert_eq!(config_by_skopeo(&skopeo, &source), image.config, "{source}");
        // skopeo finds a manifest of docker's own type in a layout only if it is the only one.
        written(&server, &alone, &["--platform", "linux/amd64", name]);
        let tag = if image.children.is_empty() { ":2" } else { "" };
        let source = format!("oci-archive:{}{tag}", alone.display());
        assert_eq!(config_by_skopeo(&skopeo, &source), image.config, "{source}");
    }
    assert_eq!(trap.breaches(), Vec::<String>::new());
}

/// With all platforms the image keeps its digest; docker loads this machine's.
#[test]
fn all_platforms_keep_the_index() {
    let (pair, trap, (_dir, file)) = (Pair::new(Format::Oci, 9910), EgressTrap::new(), target());
    let server = Server::mirroring(&pair.upstream);
    written(&server, &file, &["--platform", "all", "app:1"]);
    let entries = entries(&fs::read(&file).unwrap());
    assert_eq!(json(&entries, "index.json")["manifests"][0]["digest"], pair.index.digest());
    let alone = file.with_file_name("alone.tar");
    written(&server, &alone, &["--platform", "linux/arm64", &format!("app@{}", pair.index.digest())]);
    let named = json(&self::entries(&fs::read(&alone).unwrap()), "index.json");
    let name = &named["manifests"][0]["annotations"]["io.containerd.image.name"];
    assert_eq!(
        *name,
        format!("docker.io/library/app@{}", pair.index.children[1].digest),
        "not the index, which is left out"
    );
    assert_eq!(entries.keys().filter(|name| name.starts_with("blobs/")).count(), 3 + pair.index.blobs.len());
    let skopeo = Skopeo::new("http://127.0.0.1:1", &trap);
    let (copied, dir) = skopeo.copy(&["--all"], &format!("oci-archive:{}:1", file.display()));
    copied.expect_success("skopeo copy --all");
    assert_eq!(sha256(&fs::read(dir.path().join("manifest.json")).unwrap()), pair.index.digest());
    let docker = Docker::start("http://127.0.0.1:1", &trap, Release::Installed);
    assert_eq!(docker.load(&file, "docker.io/library/app:1"), pair.index.config);
}

/// A layer of two images is in the archive once, and stdout gets the same bytes as a file.
#[test]
fn a_pipe_gets_what_a_file_gets() {
    let (upstream, (_dir, file)) = (Upstream::plain(), target());
    let shared = Blob::noise(9920, 100_000);
    let images = [1, 2].map(|n| Image::of_layers(Format::Oci, &[shared.clone(), Blob::noise(9920 + n, 1000)]));
    images.iter().zip(["a", "b"]).for_each(|(image, tag)| upstream.add("org/app", tag, image));
    let server = Server::mirroring(&upstream);
    let arguments = ["--platform", "linux/amd64", "org/app:a", "org/app:b"];
    written(&server, &file, &arguments);
    let mut command = process::command(BINARY);
    command.arg("export").arg("--data").arg(server.data()).args(arguments).stdout(Stdio::piped());
    let piped = command.spawn().unwrap().wait_with_output().unwrap();
    let archive = fs::read(&file).unwrap();
    assert!(piped.status.success() && entries(&piped.stdout) == entries(&archive));
    assert_eq!(entries(&archive).keys().filter(|name| name.starts_with("blobs/")).count(), 2 + 5);
    let program = format!("{BINARY} export --data {} org/app:a", server.data().display());
    let mut terminal = process::command("script");
    terminal.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
    let refused = process::run("export to a terminal", terminal, LONG);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.output.contains("not written to a terminal"), "{}", refused.output);
}

/// A pipe that is read late is waited for.
#[test]
fn a_slow_pipe_gets_all_of_it() {
    let (upstream, image) = (Upstream::plain(), Image::of_layers(Format::Oci, &[Blob::window(5, 20 << 20)]));
    upstream.add("org/app", "1", &image);
    let server = Server::mirroring(&upstream);
    let mut command = process::command(BINARY);
    command.arg("export").arg("--data").arg(server.data()).arg("org/app:1").stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // Longer than the server waits for the client of another command.
    thread::sleep(Duration::from_secs(12));
    let piped = child.wait_with_output().unwrap();
    assert!(piped.status.success());
    assert_eq!(entries(&piped.stdout)[&format!("blobs/sha256/{}", hex(&image.layer().digest))], image.layer().bytes);
}

/// Whatever fails, there is no file, and the one that was there before stays.
#[test]
fn a_failure_leaves_no_file() {
    let (upstream, (dir, file)) = (Upstream::plain(), target());
    let [cut, damaged] = [9930, 9931].map(|seed| Image::of_size(Format::Oci, seed, 400_000));
    upstream.add("org/cut", "1", &cut);
    upstream.add("org/damaged", "1", &damaged);
    let server = Server::mirroring(&upstream);
    let fails = |image: &str, because: &str| {
        let refused = export(&server, &["--output", file.to_str().unwrap(), image]);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
        assert!(refused.output.contains(because), "no {because:?} in {}", refused.output);
        assert_eq!(refused.output.lines().count(), 1, "{}", refused.output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{image}");
    };
    fails("org/none:1", "docker.io/org/none:1: there is no such image");
    fails("ghcr.io/org/app:1", "list it in proxy.upstreams");
    upstream.fault(Rule::on(Kind::Blob, Fault::CutAfter(0, Cut::Rst)).path(&cut.layer().digest));
    fails("org/cut:1", &cut.layer().digest);
    upstream.heal();
    written(&server, &file, &["org/damaged:1"]);
    let before = fs::read(&file).unwrap();
    damage(&server, &damaged.layer().digest);
    let refused = export(&server, &["--output", file.to_str().unwrap(), "org/damaged:1"]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
    assert!(
        refused.output.contains(&format!("the bytes of {} do not match it", damaged.layer().digest)),
        "{}",
        refused.output
    );
    assert!(fs::read(&file).unwrap() == before && fs::read_dir(dir.path()).unwrap().count() == 1);
}

/// Changes a byte of a stored blob in a way that a look at the file does not show.
fn damage(server: &Server, digest: &str) {
    let hex = hex(digest);
    let path = server.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let (mut bytes, modified) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    bytes[1000] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
}

/// Content that the disk does not take passes through, in little memory.
#[test]
fn an_image_without_room_is_exported_all_the_same() {
    let (upstream, (_dir, file)) = (Upstream::plain(), target());
    let image = Image::of_layers(Format::Oci, &[Blob::window(9, 40 << 20)]);
    upstream.add("org/large", "1", &image);
    let server = Setup::mirroring(&upstream.url()).quota("24MiB").start();
    let before = server.forget_peak_memory();
    written(&server, &file, &["org/large:1"]);
    let above = server.peak_above(before);
    assert!(above < 24 << 20, "{above} bytes of memory for a blob of 40 MiB");
    let entries = entries(&fs::read(&file).unwrap());
    let layer = image.layer();
    assert_eq!(entries[&format!("blobs/sha256/{}", hex(&layer.digest))], layer.bytes);
}

/// A pushed image, by a name of this registry.
#[test]
fn a_pushed_image_is_exported() {
    let (image, (dir, file)) = (Image::single(Format::Oci, 9940), target());
    let server = Setup::hosting().start();
    server.target().image("team/app", "1", &image);
    written(&server, &file, &[&format!("{}/team/app:1", server.target().authority())]);
    let entries = entries(&fs::read(&file).unwrap());
    let docker = json(&entries, "manifest.json");
    assert_eq!(docker[0]["RepoTags"][0], "team/app:1");
    assert_eq!(docker[0]["Config"], format!("blobs/sha256/{}", hex(&image.config)));
    let refused = entrepot(&["export", "--data", dir.path().to_str().unwrap(), "app", "-o", "/dev/null"], &[]);
    assert!(refused.output.contains("start one with `entrepot serve"), "{}", refused.output);
}

/// A pushed image whose name has no slash is not taken for the Hub's.
#[test]
fn a_pushed_image_without_a_namespace_is_found_by_its_name() {
    let (image, (_dir, file)) = (Image::single(Format::Oci, 9950), target());
    let (upstream, hosting) = (Upstream::plain(), Setup::hosting().start());
    hosting.target().image("app", "1", &image);
    written(&hosting, &file, &["app:1"]);
    assert_eq!(json(&entries(&fs::read(&file).unwrap()), "manifest.json")[0]["RepoTags"][0], "app:1");
    let both = Setup::both(&upstream.url()).hosted("[app]").start();
    both.target().image("app", "1", &image);
    let refused = export(&both, &["--output", file.to_str().unwrap(), "app:1"]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
    assert!(refused.output.contains("write localhost/app"), "{}", refused.output);
    written(&both, &file, &["localhost/app:1"]);
    upstream.add("library/app", "2", &Image::single(Format::Oci, 9951));
    both.target().image("app", "2", &image);
    written(&both, &file, &["app:2"]);
    let index = json(&entries(&fs::read(&file).unwrap()), "index.json");
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "docker.io/library/app:2");
}

/// Digests of sha512 make names of more than 100 bytes.
#[test]
fn an_image_with_digests_of_sha512_goes_from_one_server_to_another() {
    let (layer, (_dir, file)) = (Blob::noise(9960, 5000), target());
    let layer = Blob { digest: sha512(&layer.bytes), ..layer };
    let image = Image::of_layers(Format::Oci, std::slice::from_ref(&layer));
    let (server, other) = (Setup::hosting().start(), Setup::hosting().start());
    server.target().image("team/app", "1", &image);
    written(&server, &file, &["team/app:1"]);
    let name = format!("blobs/sha512/{}", hex(&layer.digest));
    assert_eq!(entries(&fs::read(&file).unwrap())[&name], layer.bytes);
    let mut list = process::command("tar");
    list.arg("-tf").arg(&file);
    let listed = process::run("tar", list, LONG).expect_success("tar").output;
    assert!(listed.lines().any(|line| line == name), "{listed}");
    let at = ["import", "--data", other.data().to_str().unwrap(), file.to_str().unwrap()];
    entrepot(&at, &[]).expect_success("import");
    let pulled = other.blob("team/app", &layer.digest).send();
    assert_eq!((pulled.status, pulled.summary().digest), (200, sha256(&layer.bytes)));
    assert_eq!(other.manifest("team/app", "1").send().summary().digest, image.digest());
}

/// A tag that the upstream did not confirm is as of an unknown time.
#[test]
fn an_export_of_stale_tags_does_not_say_that_they_are_of_now() {
    let (upstream, image, (_dir, file)) = (Upstream::plain(), Image::single(Format::Oci, 9970), target());
    upstream.add("library/app", "1", &image);
    let server = Setup::mirroring(&upstream.url()).freshness("100ms").start();
    let time = || {
        let bytes = fs::read(&file).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let index = entries.find(|entry| entry.path().unwrap() == Path::new("index.json")).unwrap();
        index.header().mtime().unwrap()
    };
    written(&server, &file, &["app:1"]);
    assert_ne!(time(), 0);
    upstream.stop();
    thread::sleep(Duration::from_millis(500));
    written(&server, &file, &["app:1"]);
    assert_eq!(time(), 0);
}

/// A pipe, a device and a link are written to, not replaced.
#[test]
fn what_is_no_file_is_written_to() {
    let (upstream, image, (dir, file)) = (Upstream::plain(), Image::single(Format::Oci, 9980), target());
    upstream.add("library/app", "1", &image);
    let server = Server::mirroring(&upstream);
    let (fifo, link, null) = (dir.path().join("fifo"), dir.path().join("link"), dir.path().join("null"));
    process::run(
        "mkfifo",
        {
            let mut command = process::command("mkfifo");
            command.arg(&fifo);
            command
        },
        LONG,
    );
    let reading = {
        let fifo = fifo.clone();
        thread::spawn(move || fs::read(fifo).unwrap())
    };
    written(&server, &fifo, &["app:1"]);
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    written(&server, &file, &["app:1"]);
    assert_eq!(entries(&reading.join().unwrap()), entries(&fs::read(&file).unwrap()));
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    fs::write(dir.path().join("linked"), b"before").unwrap();
    std::os::unix::fs::symlink("linked", &link).unwrap();
    for path in [&null, &link] {
        written(&server, path, &["app:1"]);
        assert!(fs::symlink_metadata(path).unwrap().is_symlink(), "{}", path.display());
    }
    assert_eq!(entries(&fs::read(dir.path().join("linked")).unwrap()), entries(&fs::read(&file).unwrap()));
    let refused = export(&server, &["--output", dir.path().to_str().unwrap(), "app:1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.output.contains("directory"), "{}", refused.output);
}

/// A command that is killed leaves nothing.
#[test]
fn a_killed_export_leaves_no_file() {
    let (upstream, image, (dir, file)) = (Upstream::plain(), Image::of_size(Format::Oci, 9990, 400_000), target());
    upstream.add("library/app", "1", &image);
    let gate = Gate::new();
    upstream.fault(Rule::on(Kind::Blob, Fault::Gate(100_000, gate.clone())).path(&image.layer().digest));
    let server = Server::mirroring(&upstream);
    let mut command = process::command(BINARY);
    command.args(["export", "app:1", "--output"]).arg(&file).arg("--data").arg(server.data());
    let mut child = command.spawn().unwrap();
    wait_until("the layer to be fetched", LONG, || upstream.count("GET", Kind::Blob) >= 2);
    thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(scratch::files(dir.path()), Vec::<PathBuf>::new());
    gate.open();
    upstream.heal();
    written(&server, &file, &["app:1"]);
    assert_eq!(scratch::files(dir.path()).len(), 1);
}
