//! Real clients from Debian's packages, each on private roots, each with the mirror in front of `docker.io` and the
//! egress trap behind it.

pub(crate) mod admin;
pub(crate) mod browser;
mod buildah;
mod containerd;
mod containers;
mod docker;
pub(crate) mod http;
pub(crate) mod http2;
mod podman;
pub(crate) mod prometheus;
pub(crate) mod raw;
pub(crate) mod release;
pub(crate) mod scrape;
mod skopeo;
pub(crate) mod uploads;

use std::{path::Path, time::Duration};

pub(crate) use docker::Docker;
pub(crate) use skopeo::Skopeo;

use super::{egress_trap::EgressTrap, images::Image, process::CommandResult, release::Release};

/// Enough for a pull of some hundred MB on a busy machine.
const PULL: Duration = Duration::from_secs(150);

/// A client that pulls images of the Hub through a mirror, and pushes images of its own.
pub(crate) trait Client {
    fn name(&self) -> &'static str;

    /// Pulls `docker.io/<reference>` for linux/amd64 into an empty store, and returns the proof: the digests of the
    /// image's configuration and of the manifest that its reference resolved to.
    fn pull(&self, reference: &str) -> Pulled {
        self.pull_from(&format!("docker.io/{reference}"))
    }

    /// As [`Client::pull`], from the registry that the name begins with.
    fn pull_from(&self, name: &str) -> Pulled;

    /// Pushes an image to `name`, which begins with a registry on the loopback interface and ends with a tag; has
    /// nothing of it afterwards. Returns the pushed digest.
    fn push(&self, what: What<'_>, name: &str) -> String;
}

/// A client with credentials, which may be denied.
pub(crate) trait Member: Client {
    /// Logs in to a registry, by `host:port`. A client without such a command keeps the credentials for later commands.
    fn log_in(&mut self, registry: &str, user: &str, password: &str) -> Option<CommandResult>;

    /// Logs out.
    fn log_out(&mut self, registry: &str);

    /// As [`Client::pull_from`], with any result.
    fn try_pull(&self, name: &str) -> CommandResult;

    /// As [`Client::push`] of an image of its own, with any result.
    fn try_push(&self, image: &Image, name: &str) -> CommandResult;
}

const NO_MIRROR: &str = "http://127.0.0.1:1";

/// Starts a client without a mirror, which trusts the authority in `certs`: `ca.crt`.
pub(crate) type StartMember = fn(certs: &Path, trap: &EgressTrap) -> Box<dyn Member>;

pub(crate) fn docker_member(certs: &Path, trap: &EgressTrap) -> Box<dyn Member> {
    Box::new(docker::Docker::start(NO_MIRROR, trap, Release::Installed).trusting(certs))
}

pub(crate) fn containerd_member(certs: &Path, trap: &EgressTrap) -> Box<dyn Member> {
    Box::new(containerd::Containerd::start(NO_MIRROR, trap, Release::Installed).trusting(certs))
}

pub(crate) fn podman_member(certs: &Path, trap: &EgressTrap) -> Box<dyn Member> {
    Box::new(podman::Podman::new(NO_MIRROR, trap).trusting(certs))
}

pub(crate) fn skopeo_member(certs: &Path, trap: &EgressTrap) -> Box<dyn Member> {
    Box::new(Skopeo::new(NO_MIRROR, trap).trusting(certs))
}

/// The image that a client pushes.
#[derive(Clone, Copy)]
pub(crate) enum What<'a> {
    /// An image of its own, for linux/amd64 alone.
    Own(&'a Image),
    /// `docker.io/<reference>`, which it pulls through the mirror first.
    Pulled(&'a str),
}

/// Starts a client with this mirror, and this egress trap behind it.
pub(crate) type Start = fn(mirror: &str, trap: &EgressTrap) -> Box<dyn Client>;

/// All clients.
pub(crate) const STARTS: [Start; 5] = [docker, containerd, podman, buildah, skopeo];

pub(crate) fn docker(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    docker_with(mirror, trap, "vfs")
}

/// docker with a storage driver: `vfs`, which works everywhere and copies all layers below each layer, or `overlay2`.
pub(crate) fn docker_with(mirror: &str, trap: &EgressTrap, driver: &str) -> Box<dyn Client> {
    Box::new(docker::Docker::with_driver(mirror, trap, Release::Installed, driver))
}

pub(crate) fn containerd(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(containerd::Containerd::start(mirror, trap, Release::Installed))
}

/// containerd that asks the mirror for these registries, too.
pub(crate) fn containerd_for(mirror: &str, trap: &EgressTrap, registries: &[&str]) -> Box<dyn Client> {
    Box::new(containerd::Containerd::start(mirror, trap, Release::Installed).mirroring(mirror, registries))
}

/// podman that asks another host name of the mirror for each of these registries.
pub(crate) fn podman_for(mirror: &str, trap: &EgressTrap, registries: &[(&str, String)]) -> Box<dyn Client> {
    Box::new(podman::Podman::new(mirror, trap).mirroring(registries))
}

/// docker 28, with its containerd 2.1.
pub(crate) fn newer_docker(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(docker::Docker::start(mirror, trap, Release::sid()))
}

/// containerd 2.1.
pub(crate) fn newer_containerd(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(containerd::Containerd::start(mirror, trap, Release::sid()))
}

pub(crate) fn podman(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(podman::Podman::new(mirror, trap))
}

pub(crate) fn buildah(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(buildah::Buildah::new(mirror, trap))
}

pub(crate) fn skopeo(mirror: &str, trap: &EgressTrap) -> Box<dyn Client> {
    Box::new(Skopeo::new(mirror, trap))
}

/// The clients that push over TLS; `certs` has the files in the form that they need: `ca.crt`, `client.cert`,
/// `client.key`.
pub(crate) fn trusting(certs: &Path, trap: &EgressTrap) -> [Box<dyn Client>; 4] {
    [
        docker(NO_MIRROR, trap),
        Box::new(containerd::Containerd::start(NO_MIRROR, trap, Release::Installed).trusting(certs)),
        Box::new(podman::Podman::new(NO_MIRROR, trap).trusting(certs)),
        Box::new(Skopeo::new(NO_MIRROR, trap).trusting(certs)),
    ]
}

/// docker whose user is logged in to the Hub.
pub(crate) fn docker_with_login(mirror: &str, trap: &EgressTrap, user: &str, password: &str) -> Box<dyn Client> {
    Box::new(docker::Docker::start(mirror, trap, Release::Installed).logged_in(user, password))
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// The digest that the tag or digest resolved to.
    pub(crate) digest: String,
    /// The configuration's digest, which names the layers' content by `diff_ids`.
    pub(crate) config: String,
}

/// `registries.conf` and `policy.json` of podman and skopeo, below `dir`.
fn write_containers_conf(dir: &Path, mirror: &str, trap: &EgressTrap) {
    let (mirror, behind) = (authority(mirror), authority(&trap.url()).to_owned());
    let registries = format!(
        r#"unqualified-search-registries = ["docker.io"]

[[registry]]
prefix = "docker.io"
location = "{behind}"
insecure = true

[[registry.mirror]]
location = "{mirror}"
insecure = true
"#
    );
    std::fs::write(dir.join("registries.conf"), registries).unwrap();
    // The file for logins, which must exist.
    std::fs::write(dir.join("auth.json"), "{}").unwrap();
    std::fs::write(dir.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// `host:port/library/ubuntu` of `host:port/library/ubuntu:18.04` or `host:port/library/ubuntu@sha256:…`.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap();
    let slash = name.rfind('/').map_or(0, |slash| slash + 1);
    name[slash..].find(':').map_or(name, |colon| &name[..slash + colon])
}

/// The image as an OCI image layout, and its name for containers/image in `dir`: the path becomes a name, which must be
/// in lower case.
fn layout(image: &Image, dir: &Path) -> &'static str {
    let own = dir.join("own");
    let _ = std::fs::remove_dir_all(&own);
    std::fs::create_dir(&own).unwrap();
    image.write_layout(&own, "layout");
    "oci:own:layout"
}
