//! buildah with a mirror in `registries.conf`, its stores private or in memory.

use std::process::Command;

use tempfile::TempDir;

use super::{Client, PULL, Pulled, What, layout, write_containers_conf};
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

    fn said(&self, arguments: &[&str]) -> String {
        run("buildah", self.buildah(arguments), PULL).expect_success("buildah").output
    }

    fn policy(&self) -> String {
        format!("--signature-policy={}", self.dir.path().join("policy.json").display())
    }

    /// Pulls and returns the image's id.
    fn fetch(&self, name: &str) -> String {
        let said = self.said(&["pull", "--quiet", "--tls-verify=false", "--arch=amd64", &self.policy(), name]);
        said.lines().last().unwrap_or_else(|| panic!("no id of {name}")).to_owned()
    }
}

impl Client for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn pull_from(&self, name: &str) -> Pulled {
        let config = format!("sha256:{}", self.fetch(name));
        // It keeps both the index and the platform manifest; this is the one that was requested.
        let digest = self.said(&["images", "--format={{.Digest}}", name]).trim().to_owned();
        self.said(&["rmi", "--all", "--force"]);
        Pulled { digest, config }
    }

    fn push(&self, what: What<'_>, name: &str) -> String {
        let (policy, digest) = (self.policy(), self.dir.path().join("pushed"));
        let id = match what {
            What::Own(image) => self.fetch(layout(image, self.dir.path())),
            What::Pulled(reference) => self.fetch(&format!("docker.io/{reference}")),
        };
        let digest_file = digest.to_str().unwrap();
        self.said(&[
            "push",
            "--tls-verify=false",
            &policy,
            "--digestfile",
            digest_file,
            &id,
            &format!("docker://{name}"),
        ]);
        self.said(&["rmi", "--all", "--force"]);
        std::fs::read_to_string(digest).unwrap()
    }
}
