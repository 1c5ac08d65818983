//! skopeo with a mirror in `registries.conf`, copying into a directory.

use std::process::Command;

use tempfile::TempDir;

use super::{Client, PULL, Pulled, write_containers_conf};
use crate::support::{
    fence::Fence,
    hash::{hex, sha256},
    process::{Outcome, isolated, run},
    scratch,
};

pub(crate) struct Skopeo {
    dir: TempDir,
    fence: Fence,
}

impl Skopeo {
    pub(crate) fn new(mirror: &str, fence: &Fence) -> Self {
        let dir = scratch::dir("skopeo");
        write_containers_conf(dir.path(), mirror, fence);
        Self { dir, fence: fence.clone() }
    }

    /// `skopeo copy <options> <source> dir:<a fresh directory>`
    pub(crate) fn copy(&self, options: &[&str], source: &str) -> (Outcome, TempDir) {
        let target = tempfile::tempdir_in(self.dir.path()).unwrap();
        let mut copy = self.skopeo();
        copy.arg("copy").args(options).arg(source).arg(format!("dir:{}", target.path().display()));
        (run("skopeo copy", copy, PULL), target)
    }

    fn skopeo(&self) -> Command {
        let mut skopeo = isolated("skopeo", &["/var/lib/containers", "/run/containers"]);
        skopeo.arg("--policy").arg(self.dir.path().join("policy.json"));
        skopeo.arg("--registries-conf").arg(self.dir.path().join("registries.conf"));
        skopeo.args(["--override-os=linux", "--override-arch=amd64"]).arg("--tmpdir").arg(self.dir.path());
        skopeo.env("HOME", self.dir.path());
        self.fence.around(&mut skopeo);
        skopeo
    }
}

impl Client for Skopeo {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    /// All platforms, so that the directory holds the index itself; skopeo checks every blob's digest.
    fn pull(&self, reference: &str) -> Pulled {
        let source = format!("docker://docker.io/{reference}");
        let (outcome, index) = self.copy(&["--all"], &source);
        outcome.expect_success("skopeo copy --all");
        let digest = sha256(&std::fs::read(index.path().join("manifest.json")).unwrap());
        let (outcome, image) = self.copy(&[], &source);
        outcome.expect_success("skopeo copy");
        let manifest = std::fs::read(image.path().join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
        assert_eq!(sha256(&std::fs::read(image.path().join(hex(&config))).unwrap()), config);
        Pulled { digest, config }
    }
}
