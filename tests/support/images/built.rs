//! The image of Entrepot's Dockerfile, built once for all tests by a docker that can get base images only from
//! Entrepot.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{bases::Bases, layers::PROFILE, netns::Netns, process::Process, scratch};

/// The address of the server that acts as the Hub, in every network namespace.
const HUB: &str = "127.0.0.1:7000";

/// The result of the builds.
pub(crate) struct Built {
    dir: TempDir,
    /// The output of the build.
    pub(crate) log: String,
    /// The output of a second build, of sources that cannot be compiled.
    pub(crate) again: String,
}

/// The files that the Dockerfile copies, with another source.
const CHANGED: &str =
    "cp -a Dockerfile .dockerignore Cargo.toml Cargo.lock src deploy \"$HOME\"; cd; echo 'no Rust' >>src/lib.rs";

pub(crate) static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let (netns, dir, bases) = (Netns::boot(), scratch::dir("built"), Bases::get());
    let _hub = hub_of(&netns, &bases.to_build_on());
    netns.docker(&json!({ "registry-mirrors": [format!("http://{HUB}")] }));
    // The classic builder: Debian's docker comes without the other one.
    let build = format!("DOCKER_BUILDKIT=0 docker build --build-arg PROFILE={PROFILE} -t entrepot .");
    let source = env!("CARGO_MANIFEST_DIR");
    let log = netns.sh(&format!("cd {source}; {build}"));
    netns.sh(&format!("docker save -o {} entrepot", dir.path().join("entrepot.tar").display()));
    let again = netns.fails(&format!("cd {source}; {CHANGED}; {build}"));
    Built { dir, log, again }
});

/// Entrepot as the Hub, with the tutorials' images.
pub(crate) fn hub(netns: &Netns) -> Process {
    let volume = copied(&Bases::get().to_run(), &netns.path("hub"));
    hub_of(netns, &volume)
}

fn hub_of(netns: &Netns, volume: &Path) -> Process {
    let variables = [
        ("REGISTRY_HTTP_ADDR", HUB),
        ("REGISTRY_PROXY_ENABLED", "false"),
        ("REGISTRY_PROXY_HOSTED", "[library/**, prom/**]"),
    ];
    netns.entrepot(volume, &variables)
}

/// A copy of the volume with shared blobs: two servers cannot open one volume.
fn copied(volume: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to.join("docker")).unwrap();
    link_all(&volume.join("docker"), &to.join("docker"));
    to.to_owned()
}

fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        if here.is_dir() {
            fs::create_dir_all(&there).unwrap();
            link_all(&here, &there);
        } else if fs::hard_link(&here, &there).is_err() {
            fs::copy(&here, &there).unwrap();
        }
    }
}

/// A network namespace with a docker that has the image as `entrepot`, and pulls `ubuntu:18.04` from a local Hub.
pub(crate) struct Ready {
    pub(crate) netns: Netns,
    _hub: Process,
}

impl Ready {
    pub(crate) fn boot() -> Self {
        Self::with(&json!({ "registry-mirrors": [format!("http://{HUB}")] }))
    }

    /// With this as docker's `daemon.json`.
    pub(crate) fn with(daemon: &serde_json::Value) -> Self {
        let archive = BUILT.dir.path().join("entrepot.tar");
        let netns = Netns::boot();
        let _hub = hub(&netns);
        netns.docker(daemon);
        netns.sh(&format!("docker load -i {}", archive.display()));
        Self { netns, _hub }
    }
}
