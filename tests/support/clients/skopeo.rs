//! skopeo with a mirror in `registries.conf`, copying into a directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{Client, Member, PULL, Pulled, What, layout, write_containers_conf};
use crate::support::{
    egress_trap::EgressTrap,
    hash::{hex, sha256},
    images::Image,
    process::{CommandResult, isolated, run},
    scratch,
};

pub(crate) struct Skopeo {
    dir: TempDir,
    trap: EgressTrap,
    certs: Option<PathBuf>,
}

impl Skopeo {
    pub(crate) fn new(mirror: &str, trap: &EgressTrap) -> Self {
        let dir = scratch::dir("skopeo");
        write_containers_conf(dir.path(), mirror, trap);
        Self { dir, trap: trap.clone(), certs: None }
    }

    /// Verifies certificates with the authority in `certs`.
    pub(crate) fn trusting(self, certs: &Path) -> Self {
        Self { certs: Some(certs.to_owned()), ..self }
    }

    /// The option for the certificates of that side: `src-`, `dest-`, or of the only one.
    fn tls(&self, side: &str) -> String {
        match &self.certs {
            None => format!("--{side}tls-verify=false"),
            Some(certs) => format!("--{side}cert-dir={}", certs.display()),
        }
    }

    /// `skopeo copy <options> <source> dir:<a fresh directory>`
    pub(crate) fn copy(&self, options: &[&str], source: &str) -> (CommandResult, TempDir) {
        let target = tempfile::tempdir_in(self.dir.path()).unwrap();
        let mut copy = self.skopeo();
        copy.args(["copy", &self.tls("src-")])
            .args(options)
            .arg(source)
            .arg(format!("dir:{}", target.path().display()));
        (run("skopeo copy", copy, PULL), target)
    }

    fn skopeo(&self) -> Command {
        let mut skopeo = isolated("skopeo", &["/var/lib/containers:1g", "/run/containers:1g"]);
        skopeo.arg("--policy").arg(self.dir.path().join("policy.json"));
        skopeo.arg("--registries-conf").arg(self.dir.path().join("registries.conf"));
        skopeo.args(["--override-os=linux", "--override-arch=amd64"]).arg("--tmpdir").arg(self.dir.path());
        skopeo.env("REGISTRY_AUTH_FILE", self.dir.path().join("auth.json"));
        skopeo.current_dir(self.dir.path()).env("HOME", self.dir.path());
        self.trap.around(&mut skopeo);
        skopeo
    }
}

impl Client for Skopeo {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    /// All platforms, so that the directory holds the index itself; skopeo checks every blob's digest.
    fn pull_from(&self, name: &str) -> Pulled {
        let source = format!("docker://{name}");
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

    fn push(&self, what: What<'_>, name: &str) -> String {
        let digest = self.dir.path().join("pushed");
        let source = match what {
            What::Own(image) => layout(image, self.dir.path()).to_owned(),
            What::Pulled(reference) => format!("docker://docker.io/{reference}"),
        };
        let mut copy = self.skopeo();
        copy.args(["copy", &self.tls("src-"), &self.tls("dest-"), "--digestfile"]).arg(&digest);
        copy.arg(source).arg(format!("docker://{name}"));
        run("skopeo copy", copy, PULL).expect_success("skopeo copy");
        std::fs::read_to_string(digest).unwrap()
    }
}

impl Member for Skopeo {
    fn log_in(&mut self, registry: &str, user: &str, password: &str) -> Option<CommandResult> {
        let mut login = self.skopeo();
        login.args(["login", &self.tls(""), "--username", user, "--password", password, registry]);
        Some(run("skopeo login", login, PULL))
    }

    fn log_out(&mut self, registry: &str) {
        let mut logout = self.skopeo();
        logout.args(["logout", registry]);
        run("skopeo logout", logout, PULL).expect_success("skopeo logout");
    }

    fn try_pull(&self, name: &str) -> CommandResult {
        self.copy(&[], &format!("docker://{name}")).0
    }

    fn try_push(&self, image: &Image, name: &str) -> CommandResult {
        let mut copy = self.skopeo();
        copy.args(["copy", &self.tls("dest-"), layout(image, self.dir.path())]).arg(format!("docker://{name}"));
        run("skopeo copy", copy, PULL)
    }
}
