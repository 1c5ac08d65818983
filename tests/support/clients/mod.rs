//! Real clients from Debian's packages, each on private roots, each with the mirror in front of `docker.io` and the
//! fence behind it.

mod containerd;
mod docker;
mod podman;
mod skopeo;

use std::{path::Path, time::Duration};

pub(crate) use containerd::Containerd;
pub(crate) use docker::Docker;
pub(crate) use podman::Podman;
pub(crate) use skopeo::Skopeo;

use super::fence::Fence;

/// Enough for a pull of some hundred MB on a busy machine.
const PULL: Duration = Duration::from_secs(150);

/// Someone who pulls images of the Hub through a mirror.
pub(crate) trait Client {
    fn name(&self) -> &'static str;

    /// Pulls `docker.io/<reference>` for linux/amd64 into an empty store, and answers with what proves it: the
    /// digests of the image's configuration and of what its reference resolved to.
    fn pull(&self, reference: &str) -> Pulled;
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// What tag or digest resolved to.
    pub(crate) digest: String,
    /// The configuration's digest, which names the layers' content by `diff_ids`.
    pub(crate) config: String,
}

/// `registries.conf` and `policy.json` of podman and skopeo, below `dir`.
fn write_containers_conf(dir: &Path, mirror: &str, fence: &Fence) {
    let (mirror, behind) = (authority(mirror), authority(&fence.url()).to_owned());
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
    std::fs::write(dir.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// `library/ubuntu` of `library/ubuntu:18.04` or `library/ubuntu@sha256:…`.
fn repository(reference: &str) -> &str {
    reference.split(['@', ':']).next().unwrap()
}
