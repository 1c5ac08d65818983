//! Archives of other makers, and hostile ones: `entrepot import` takes what is whole, and refuses the rest as a whole.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// The content of an image in an archive, without the digests in `left_out`.
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

/// An archive without a layout names no digests but those of its configuration: the layers have to be these.
#[test]
fn the_layers_of_a_docker_archive_are_those_of_its_configuration() {
    let server = Setup::hosting().start();
    let image = Image::of_many_layers(Format::Docker, 10_100, 2, 3000);
    let [first, second, config] = &image.blobs[..] else { panic!("two layers") };
    // Unpacked: the gzip of these does not compress.
    let unpacked = |blob: &Blob| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&blob.bytes[..]).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (plain, name) = (unpacked(first), format!("{}.json", hex(&config.digest)));
    let whole = docker_archive((&name, &config.bytes), &[("1/layer.tar", &plain), ("2.tar.gz", &second.bytes)]);
    let altered = |bytes: &[u8]| {
        let mut altered = bytes.to_vec();
        altered[1000] ^= 1;
        altered
    };
    for (first, second) in [(altered(&plain), second.bytes.to_vec()), (plain.clone(), altered(&second.bytes))] {
        let archive = docker_archive((&name, &config.bytes), &[("1/layer.tar", &first), ("2.tar.gz", &second)]);
        refused(&server, &archive, "is not what its configuration names");
    }
    let swapped = docker_archive((&name, &config.bytes), &[("2.tar.gz", &second.bytes), ("1/layer.tar", &plain)]);
    refused(&server, &swapped, "is not what its configuration names");
    let fewer = docker_archive((&name, &config.bytes), &[("1/layer.tar", &plain)]);
    refused(&server, &fewer, "2 layers");
    let other = String::from_utf8(config.bytes.to_vec()).unwrap().replace("/nothing", "/another");
    let layers: [(&str, &[u8]); 2] = [("1/layer.tar", &plain), ("2.tar.gz", &second.bytes)];
    refused(&server, &docker_archive((&name, other.as_bytes()), &layers), &config.digest);
    let named = format!("sha256:{}", hex(&config.digest));
    refused(&server, &docker_archive((&named, other.as_bytes()), &layers), &config.digest);
    import(&server, &whole, &["--as", "team/app:1"]).expect_success("the whole one");
    let manifest: Value = server.manifest("team/app", "1").send().json();
    assert_eq!(manifest["config"]["digest"], image.config.as_str());
    let pulled = server.blob("team/app", &sha256(&plain)).send();
    assert_eq!((pulled.status, &manifest["layers"][1]["digest"]), (200, &json!(second.digest)));
}

/// A tag counts as of the time that the archive has within it: that of its file says nothing.
#[test]
fn an_archive_counts_as_of_the_time_within_it() {
    let (upstream, old, new) =
        (Upstream::plain(), Image::single(Format::Oci, 10_110), Image::single(Format::Oci, 10_111));
    upstream.add("library/app", "1", &new);
    let server = mirror(&upstream).start();
    server.pull("library/app", "1", &new);
    upstream.stop();
    thread::sleep(Duration::from_millis(1200));
    let archived = |time: u64| layout(&old.top, &content(&old, &[]), time);
    let tag = || server.manifest("library/app", "1").send().summary().digest;
    import(&server, &archived(0).end(), &[]).expect_success("without times");
    assert_eq!(tag(), new.digest(), "an unknown time is before all others");
    import(&server, &archived(1).end(), &[]).expect_success("an old one");
    assert_eq!(tag(), new.digest());
    // Without a time of its own, the index is as old as the newest file.
    let mut later = archived(0);
    later.time = now();
    import(&server, &later.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).end(), &[])
        .expect_success("a later one");
    assert_eq!(tag(), old.digest());
}

/// The entries of an index are manifests, unless their type says otherwise.
#[test]
fn an_entry_of_an_index_without_a_type_is_a_manifest() {
    let image = Image::index(Format::Oci, 10_120, 1000);
    let mut index: Value = serde_json::from_slice(&image.top.bytes).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("mediaType");
    }
    let image = Image { top: Manifest::new(Format::Oci.index(), &index), ..image };
    let (server, _upstream) = cut_off();
    import(&server, &layout(&image.top, &content(&image, &[]), 1).end(), &[]).expect_success("import");
    server.pull("library/app", "1", &image);
}

/// Of an index, the platforms that are in the archive are imported: the mirror can fetch the others, and a hosted
/// repository takes such an index if the rules for pushes do.
#[test]
fn an_index_without_all_its_platforms_is_imported_as_far_as_the_rules_allow() {
    let image = Image::index(Format::Oci, 10_130, 1000);
    let [amd64, arm64] = &image.children[..] else { panic!("two platforms") };
    let layers: Value = serde_json::from_slice(&arm64.bytes).unwrap();
    let layer = layers["layers"][0]["digest"].as_str().unwrap();
    let (server, _upstream) = cut_off();
    // Without the manifest, as docker save, and with it, as where it was fetched and its layers were not.
    for left_out in [&[arm64.digest.as_str(), layer][..], &[layer]] {
        let archive = layout(&image.top, &content(&image, left_out), 1).end();
        let imported = import(&server, &archive, &[]).expect_success("into the cache");
        assert!(imported.output.contains("without 1 of 2 manifests of its index"), "{}", imported.output);
        let status = |reference: &str| server.manifest("library/app", reference).send().status;
        assert_eq!((status("1"), status(&amd64.digest)), (200, 200));
        assert_ne!(status(&arm64.digest), 200);
        let refused = import(&server, &archive, &["--as", "team/app:1"]);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
        for part in [&arm64.digest, "--platform", "validation.manifests.indexes.platforms"] {
            assert!(refused.output.contains(part), "no {part:?} in {}", refused.output);
        }
        let lenient = Setup::hosting().variable("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", "none").start();
        import(&lenient, &archive, &["--as", "team/app:1"]).expect_success("as pushed");
        assert_eq!(lenient.manifest("team/app", "1").send().summary().digest, image.digest());
        assert_eq!(lenient.manifest("team/app", &amd64.digest).send().status, 200);
    }
    let none: Vec<_> = image.blobs.iter().map(|blob| blob.digest.as_str()).collect();
    refused(&server, &layout(&image.top, &content(&image, &none), 1).end(), "it has no blobs/sha256/");
    // Cut off where a file begins, an archive is not one of fewer platforms.
    let cut = layout(&image.top, &content(&image, &[&arm64.digest, layer]), 1).bytes;
    refused(&server, &cut, "it is truncated: make it anew");
}

/// An archive without images is an error.
#[test]
fn an_archive_without_images_is_refused() {
    let server = Setup::hosting().start();
    let index = Tar::new(0).file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#).end();
    for archive in [index, Tar::new(0).file("manifest.json", b"[]").end()] {
        let refused = import(&server, &archive, &[]);
        assert_eq!((refused.status.code(), refused.output.lines().count()), (Some(1), 1), "{}", refused.output);
        assert!(refused.output.contains("it has no images"), "{}", refused.output);
    }
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

/// Indexes that name the next one many times, of which the last names a manifest that is missing.
#[test]
fn an_archive_that_names_a_missing_manifest_many_times_is_refused_at_once() {
    let (server, absent) = (Setup::hosting().start(), Image::single(Format::Oci, 10_151));
    let mut nested = vec![absent.top.clone()];
    for _ in 0..5 {
        let children = vec![nested.last().unwrap().descriptor(); 100];
        let body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": children });
        nested.push(Manifest::new(Format::Oci.index(), &body));
    }
    let content: Vec<_> = nested[1..].iter().map(|index| (index.digest.as_str(), &index.bytes[..])).collect();
    let began = Instant::now();
    let because = format!("it has no blobs/sha256/{}", hex(absent.digest()));
    refused(&server, &layout(nested.last().unwrap(), &content, 1).end(), &because);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Nested and linked without end, named outside of the archive, or longer than it: refused in one line.
#[test]
fn a_hostile_archive_is_refused() {
    let (server, image) = (Setup::hosting().start(), Image::single(Format::Oci, 10_150));
    let mut nested = vec![image.top.clone()];
    for _ in 0..10 {
        let child = nested.last().unwrap().descriptor();
        let body = json!({ "schemaVersion": 2, "mediaType": Format::Oci.index(), "manifests": [child] });
        nested.push(Manifest::new(Format::Oci.index(), &body));
    }
    let below: Vec<_> = nested.iter().map(|manifest| (manifest.digest.as_str(), &manifest.bytes[..])).collect();
    let all = [content(&image, &[]), below].concat();
    refused(&server, &layout(nested.last().unwrap(), &all, 1).end(), "nested too deep");
    let (one, other) = (hex(&image.config), hex(image.digest()));
    let linked = layout(&image.top, &content(&image, &[&image.config]), 1);
    let circle = linked.link(&format!("blobs/sha256/{one}"), "circle").link("blobs/sha256/circle", one).end();
    refused(&server, &circle, &format!("it has no blobs/sha256/{one}"));
    for target in ["/etc/passwd", "../../../../../../etc/passwd"] {
        let outside = layout(&image.top, &content(&image, &[&image.config]), 1);
        let outside = outside.link(&format!("blobs/sha256/{one}"), target).file("../escaped", b"x").end();
        refused(&server, &outside, &format!("it has no blobs/sha256/{one}"));
        assert!(!Path::new("../escaped").exists());
        refused(&server, &docker_archive(("config.json", b"{}"), &[])[..], "malformed");
        let config = json!([{ "Config": target, "Layers": [] }]).to_string();
        refused(&server, &Tar::new(0).file("manifest.json", config.as_bytes()).end(), &format!("it has no {target}"));
    }
    for (size, because) in [(1 << 33, "it is truncated"), (u64::MAX - 511, "size overflow")] {
        let mut huge = layout(&image.top, &content(&image, &[]), 1);
        let header = huge.header(&format!("blobs/sha256/{other}"), tar::EntryType::Regular, size);
        huge.bytes.extend(header.as_bytes());
        refused(&server, &huge.end(), because);
    }
    let mut sized: Value = serde_json::from_slice(&image.top.bytes).unwrap();
    sized["layers"][0]["size"] = json!(u64::MAX);
    let sized = Manifest::new(Format::Oci.manifest(), &sized);
    let refused = import(&server, &layout(&sized, &content(&image, &[]), 1).end(), &["--as", "team/app:1"]);
    assert!(refused.output.contains("is said to have 18446744073709551615 bytes"), "{}", refused.output);
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

/// An import whose first blobs were evicted before its end does not report success.
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
