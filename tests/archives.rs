//! Archives of other makers, and hostile ones: `entrepot import` takes what is whole, and refuses the rest as a whole.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::support::{
    admin,
    hash::{hex, sha256},
    images::{Blob, Format, Image, Manifest},
    process::CommandResult,
    scratch,
    server::{Server, Setup, entrepot},
    upstream::Upstream,
};

const NAME: &str = "docker.io/library/app:1";

/// A tar under construction. The names are written as they are.
struct Tar {
    bytes: Vec<u8>,
    time: u64,
}

impl Tar {
    fn new(time: u64) -> Self {
        Self { bytes: Vec::new(), time }
    }

    fn header(&self, name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(self.time);
        header.set_entry_type(kind);
        header.set_cksum();
        header
    }

    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.bytes.extend(self.header(name, tar::EntryType::Regular, bytes.len() as u64).as_bytes());
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = self.header(name, tar::EntryType::Symlink, 0);
        header.set_link_name(target).unwrap();
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

/// A layout whose only image is `top`, named [`NAME`].
fn layout(top: &Manifest, content: &[(&str, &[u8])], time: u64) -> Tar {
    let mut entry = top.descriptor();
    entry["annotations"] = json!({ "io.containerd.image.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let tar = Tar::new(time).file("index.json", index.as_bytes());
    let itself = (top.digest.as_str(), &top.bytes[..]);
    let files = content.iter().chain([&itself]);
    files.fold(tar, |tar, (digest, bytes)| tar.file(&format!("blobs/sha256/{}", hex(digest)), bytes))
}

/// What an archive has of an image, without the digests in `left_out`.
fn content<'a>(image: &'a Image, left_out: &[&str]) -> Vec<(&'a str, &'a [u8])> {
    let blobs = image.blobs.iter().map(|blob| (blob.digest.as_str(), &blob.bytes[..]));
    let all = blobs.chain(image.children.iter().map(|child| (child.digest.as_str(), &child.bytes[..])));
    all.filter(|(digest, _)| !left_out.contains(digest)).collect()
}

/// An archive without a layout.
fn docker_archive(config: (&str, &[u8]), layers: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<_> = layers.iter().map(|(name, _)| name).collect();
    let about = json!([{ "Config": config.0, "RepoTags": ["app:1"], "Layers": names }]).to_string();
    let tar = Tar::new(0).file("manifest.json", about.as_bytes()).file(config.0, config.1);
    layers.iter().fold(tar, |tar, (name, bytes)| tar.file(name, bytes)).end()
}

fn import(server: &Server, archive: &[u8], arguments: &[&str]) -> CommandResult {
    let dir = scratch::dir("archive");
    let file = dir.path().join("images.tar");
    fs::write(&file, archive).unwrap();
    let at = ["import", "--data", server.data().to_str().unwrap(), file.to_str().unwrap()];
    entrepot(&[&at, arguments].concat(), &[])
}

/// Asserts that an archive is refused in one line, and that nothing of it is stored.
fn refused(server: &Server, archive: &[u8], because: &str) {
    let before = scratch::files(&server.data().join("docker"));
    let refused = import(server, archive, &["--as", "team/app:1"]);
    assert_eq!((refused.status.code(), refused.output.lines().count()), (Some(1), 1), "{}", refused.output);
    assert!(refused.output.contains(because), "no {because:?} in {}", refused.output);
    assert_eq!(scratch::files(&server.data().join("docker")), before);
}

fn mirror(upstream: &Upstream) -> Setup {
    Setup::both(&upstream.url()).freshness("100ms").hosted("[team/**]")
}

/// A server whose upstream cannot be reached, which takes pushes.
fn cut_off() -> (Server, Upstream) {
    let upstream = Upstream::plain();
    upstream.stop();
    (mirror(&upstream).start(), upstream)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A manifest may be as long as one that is pushed.
#[test]
fn a_long_manifest_is_refused_as_a_pushed_one() {
    let image = Image::single(Format::Oci, 10_140);
    let mut manifest: Value = serde_json::from_slice(&image.top.bytes).unwrap();
    manifest["annotations"] = json!({ "long": "x".repeat(100_000) });
    let long = Manifest::new(Format::Oci.manifest(), &manifest);
    let archive = layout(&long, &content(&image, &[]), 1).end();
    let server = Setup::hosting().variable("REGISTRY_HTTP_LIMITS_MANIFEST", "64KiB").start();
    let refused = import(&server, &archive, &["--as", "team/app:1"]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
    assert!(refused.output.contains("http.limits.manifest"), "{}", refused.output);
    let server = Setup::hosting().start();
    import(&server, &archive, &["--as", "team/app:1"]).expect_success("within the limit");
}

/// Begins an import as the command does, with these sizes of the blobs.
fn begun(server: &Server, image: &Image, size: impl Fn(&Blob) -> u64) -> UnixStream {
    let blobs = image.blobs.iter().map(|blob| json!({ "digest": blob.digest, "bytes": size(blob) }));
    let request = json!({
        "request": "import", "domain": "docker.io", "name": "library/app", "tags": [], "at": 0, "made": false,
        "blobs": blobs.collect::<Vec<_>>(),
        "manifests": [{ "digest": image.digest(), "bytes": image.top.bytes.len() }],
    });
    let mut stream = UnixStream::connect(admin::socket(server.data())).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    stream
}

fn last_line(stream: UnixStream) -> String {
    BufReader::new(stream).lines().last().unwrap().unwrap()
}

/// Sizes whose sum is beyond all measure do not end the request in the middle.
#[test]
fn sizes_of_present_blobs_are_not_believed() {
    let (image, (server, _upstream)) = (Image::single(Format::Oci, 10_160), cut_off());
    import(&server, &layout(&image.top, &content(&image, &[]), 1).end(), &[]).expect_success("import");
    let mut stream = begun(&server, &image, |_| u64::MAX);
    stream.write_all(&image.top.bytes).unwrap();
    let last = last_line(stream);
    assert!(last.contains(r#""answer":"imported""#), "{last}");
}

/// What was evicted before the end of its import is not said to be here.
#[test]
fn blobs_that_are_evicted_before_the_end_are_missed() {
    let upstream = Upstream::plain();
    let image = Image::of_layers(Format::Oci, &[0, 1].map(|n| Blob::window(n << 20, 4 << 20)));
    let others = [2, 3, 4, 5, 6].map(|n| Image::of_layers(Format::Oci, &[Blob::window(n << 20, 15 << 20)]));
    let server = mirror(&upstream).quota("64MiB").lease("1ms").variable("REGISTRY_STORAGE_MAXOBJECT", "16MiB").start();
    let mut stream = begun(&server, &image, |blob| blob.len() as u64);
    for blob in &image.blobs {
        stream.write_all(&blob.bytes).unwrap_or_else(|_| panic!("{}", last_line(stream.try_clone().unwrap())));
    }
    for (other, tag) in others.iter().zip(["2", "3", "4", "5", "6"]) {
        upstream.add("library/other", tag, other);
        // Until what is written is also allocated on the disk, it is not evicted.
        thread::sleep(Duration::from_secs(1));
        server.pull("library/other", tag, other);
    }
    stream.write_all(&image.top.bytes).unwrap();
    let last = last_line(stream);
    assert!(last.contains("is not kept, for want of space"), "{last}");
}
