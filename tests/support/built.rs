//! The image of our Dockerfile, built once for all tests by a docker whose only way to a base image is Entrepot.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::json;
use tempfile::TempDir;

use super::{bases::Bases, layers::PROFILE, netns::Netns, process::Process, scratch};

/// Where the Hub's part is played on every machine.
const HUB: &str = "127.0.0.1:7000";

/// What was built.
pub(crate) struct Built {
    dir: TempDir,
    /// What the build printed.
    pub(crate) log: String,
    /// What a second build printed, of sources that cannot be compiled.
    pub(crate) again: String,
}

/// What the Dockerfile is given, with another source.
const CHANGED: &str =
    "cp -a Dockerfile .dockerignore Cargo.toml Cargo.lock src deploy \"$HOME\"; cd; echo 'no Rust' >>src/lib.rs";

pub(crate) static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let (netns, dir, bases) = (Netns::boot(), scratch::dir("built"), Bases::get());
    let _hub = hub_of(&netns, &bases.to_build_on());
    netns.docker(&json!({ "registry-mirrors": [format!("http://{HUB}")] }));
    // The builder that every docker has: Debian's comes without the other one.
    let build = format!("DOCKER_BUILDKIT=0 docker build --build-arg PROFILE={PROFILE} -t entrepot .");
    let source = env!("CARGO_MANIFEST_DIR");
    let log = netns.sh(&format!("cd {source}; {build}"));
    netns.sh(&format!("docker save -o {} entrepot", dir.path().join("entrepot.tar").display()));
    let again = netns.fails(&format!("cd {source}; {CHANGED}; {build}"));
    Built { dir, log, again }
});

/// Entrepot as the Hub, with what the tutorials pull.
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

/// The volume once more, its blobs shared: two servers cannot have one.
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

/// A machine whose docker has the image as `entrepot`, and pulls `ubuntu:18.04` from the Hub at hand.
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
