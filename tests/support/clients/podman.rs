//! podman with a mirror in `registries.conf`, its stores private or in memory.

use std::process::Command;

use tempfile::TempDir;

use super::{Client, PULL, Pulled, write_containers_conf};
use crate::support::{
    fence::Fence,
    process::{isolated, run},
    scratch,
};

pub(crate) struct Podman {
    dir: TempDir,
    fence: Fence,
}

impl Podman {
    pub(crate) fn new(mirror: &str, fence: &Fence) -> Self {
        let dir = scratch::dir("podman");
        write_containers_conf(dir.path(), mirror, fence);
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, fence: fence.clone() }
    }

    /// The system's own container directories are empty and in memory for it.
    fn podman(&self, arguments: &[&str]) -> Command {
        let mut podman = isolated("podman", &["/var/lib/containers:1g", "/run/containers:1g", "/run/libpod:1g"]);
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "libpod")] {
            podman.arg(flag).arg(self.dir.path().join(name));
        }
        podman.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]).args(arguments);
        podman.env("CONTAINERS_REGISTRIES_CONF", self.dir.path().join("registries.conf"));
        podman.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path().join("tmp"));
        self.fence.around(&mut podman);
        podman
    }

    fn said(&self, arguments: &[&str]) -> String {
        run("podman", self.podman(arguments), PULL).expect_success("podman").output
    }
}

impl Client for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn pull(&self, reference: &str) -> Pulled {
        let (image, policy) = (format!("docker.io/{reference}"), self.dir.path().join("policy.json"));
        self.said(&["pull", "--arch=amd64", "--signature-policy", policy.to_str().unwrap(), &image]);
        let config = format!("sha256:{}", self.said(&["image", "inspect", "--format={{.Id}}", &image]).trim());
        // Of index and platform manifest, which it keeps both, this is the one it was asked for.
        let digest = self.said(&["image", "inspect", "--format={{.Digest}}", &image]).trim().to_owned();
        self.said(&["rmi", "--all", "--force"]);
        Pulled { digest, config }
    }
}
