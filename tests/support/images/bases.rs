//! The base images of Entrepot's Dockerfile, and the images that tutorials pull. They are stored as `library/…` in
//! volumes that Entrepot serves to docker as the Hub, since no external registry can be reached; `layers.rs` makes
//! their content on this machine.
//!
//! Making them takes minutes: the volumes are kept below `target/` for as long as toolchain and `Cargo.lock` stay the
//! same.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::{Value, json};

use crate::support::{
    hash::{Hasher, sha256},
    images::{Blob, Format, Image, Manifest},
    layers::{self, PROFILE},
    pages,
    server::Setup,
    uploads::{OCTETS, Target},
};

/// To be changed with the recipe below.
const RECIPE: &str = "2";
/// The image that the tutorials push.
pub(crate) static UBUNTU: LazyLock<Image> = LazyLock::new(|| Image::index(Format::Docker, 18_04, 300_000));

/// The volumes, locked against other test processes.
pub(crate) struct Bases {
    place: PathBuf,
    _mine: fs::File,
}

impl Bases {
    /// Waits until other test processes have released them, and makes them if they are missing.
    pub(crate) fn get() -> Self {
        fs::create_dir_all(kept()).unwrap();
        let mine = fs::File::create(kept().join("lock")).unwrap();
        mine.lock().unwrap();
        let place = kept().join("volumes").join(key());
        if !place.join("complete").exists() {
            let _ = fs::remove_dir_all(kept().join("volumes"));
            fs::create_dir_all(&place).unwrap();
            fill(&place);
            fs::write(place.join("complete"), "").unwrap();
        }
        Self { place, _mine: mine }
    }

    /// `library/rust:1.95-slim-bookworm` and `library/debian:bookworm-slim`.
    pub(crate) fn to_build_on(&self) -> PathBuf {
        self.place.join("build")
    }

    /// `library/ubuntu:18.04` and `prom/prometheus:v3.5.0`.
    pub(crate) fn to_run(&self) -> PathBuf {
        self.place.join("run")
    }
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/images")
}

/// The key of the images' inputs.
fn key() -> String {
    let (manifest, lock) = (layers::manifest(), pages::read("Cargo.lock"));
    let digest = sha256(format!("{RECIPE} {PROFILE} {} {manifest} {lock}", layers::compiler()).as_bytes());
    digest["sha256:".len()..][..16].to_owned()
}

fn fill(place: &Path) {
    let (slim, full) = layers::debian(&kept());
    let layers = [full, layers::toolchain(place), layers::crates(place), layers::compiled(place)];
    let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    let cargo = [format!("CARGO_HOME={}", layers::cargo_home().display()), "CARGO_NET_OFFLINE=true".to_owned()];
    let rust = json!({ "Env": [path.replace('=', "=/opt/rust/bin:"), cargo[0], cargo[1]], "Cmd": ["bash"] });
    filled(&place.join("build"), |target| {
        push(target, "library/rust:1.95-slim-bookworm", &layers.each_ref().map(PathBuf::as_path), &rust);
        push(target, "library/debian:bookworm-slim", &[&slim], &json!({ "Env": [path], "Cmd": ["bash"] }));
    });
    let watcher = layers::prometheus(place);
    filled(&place.join("run"), |target| {
        push(target, "prom/prometheus:v3.5.0", &[&slim, &watcher], &as_prometheus());
        target.image("library/ubuntu", "18.04", &UBUNTU);
    });
    layers[1..].iter().chain([&watcher]).for_each(|layer| fs::remove_file(layer).unwrap());
}

fn filled(volume: &Path, with: impl FnOnce(&Target)) {
    let mut server = Setup::hosting().hosted("[library/**, prom/**]").data_at(volume).start();
    with(&server.target());
    assert!(server.stop().0.success());
}

/// The start command of `prom/prometheus`.
fn as_prometheus() -> Value {
    json!({
        "Entrypoint": ["/bin/prometheus"],
        "Cmd": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "Volumes": { "/prometheus": {} },
        "ExposedPorts": { "9090/tcp": {} },
    })
}

/// Pushes an image of these uncompressed layers.
fn push(target: &Target, name: &str, layers: &[&Path], runs: &Value) {
    let (repository, tag) = name.split_once(':').unwrap();
    let layers: Vec<_> = layers.iter().map(|file| layer(target, repository, file)).collect();
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let rootfs = json!({ "type": "layers", "diff_ids": digests });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": runs, "rootfs": rootfs });
    let config = Blob::new(serde_json::to_vec(&config).unwrap());
    target.blob(repository, &config);
    let body = json!({
        "schemaVersion": 2,
        "mediaType": Format::Docker.manifest(),
        "config": config.descriptor(Format::Docker.config()),
        "layers": layers,
    });
    let manifest = Manifest::new(Format::Docker.manifest(), &body);
    assert_eq!(target.manifest(repository, tag, &manifest).status, 201, "{name}");
}

/// Pushes a layer and returns its descriptor.
fn layer(target: &Target, repository: &str, file: &Path) -> Value {
    let mut session = target.begin(repository);
    let mut patch = session.request("PATCH").header("Content-Type", OCTETS).begin(None);
    let (mut from, mut piece, mut hasher, mut size) =
        (fs::File::open(file).unwrap(), vec![0; 1 << 20], Hasher::default(), 0);
    loop {
        let length = from.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        hasher.update(&piece[..length]);
        patch.write(&piece[..length]).unwrap();
        size += length;
    }
    session.moved(&patch.finish().unwrap());
    let digest = hasher.finish();
    assert_eq!(session.put(&digest, b"").status, 201);
    json!({ "mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": digest, "size": size })
}
