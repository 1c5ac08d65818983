//! buildah with a mirror in `registries.conf`, its stores private or in memory.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::{Client, PULL, Pulled, What, containers::Containers, write_containers_conf};
use crate::support::{
    egress_trap::EgressTrap,
    process::{isolated, run},
    scratch,
};

pub(crate) struct Buildah {
    dir: TempDir,
    trap: EgressTrap,
}

impl Buildah {
    pub(crate) fn new(mirror: &str, trap: &EgressTrap) -> Self {
        let dir = scratch::dir("buildah");
        write_containers_conf(dir.path(), mirror, trap);
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, trap: trap.clone() }
    }

    /// The system's own container directories are empty and in memory for it.
    fn buildah(&self, arguments: &[&str]) -> Command {
        let mut buildah = isolated("buildah", &["/var/lib/containers:1g", "/run/containers:1g"]);
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--registries-conf", "registries.conf")] {
            buildah.arg(flag).arg(self.dir.path().join(name));
        }
        buildah.arg("--storage-driver=vfs").args(arguments);
        buildah.current_dir(self.dir.path()).env("HOME", self.dir.path()).env("TMPDIR", self.dir.path().join("tmp"));
        self.trap.around(&mut buildah);
        buildah
    }
}

impl Containers for Buildah {
    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn tls(&self) -> &str {
        "--tls-verify=false"
    }

    fn output(&self, arguments: &[&str]) -> String {
        run("buildah", self.buildah(arguments), PULL).expect_success("buildah").output
    }
}

impl Client for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn pull_from(&self, name: &str) -> Pulled {
        let config = format!("sha256:{}", self.fetch(name));
        // It keeps both the index and the platform manifest; this is the one that was requested.
        let digest = self.output(&["images", "--format={{.Digest}}", name]).trim().to_owned();
        self.output(&["rmi", "--all", "--force"]);
        Pulled { digest, config }
    }

    fn push(&self, what: What<'_>, name: &str) -> String {
        self.push_image(what, name)
    }
}
