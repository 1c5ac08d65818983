//! podman with a mirror in `registries.conf`, its stores private or in memory.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::{Client, Member, PULL, Pulled, What, containers::Containers, layout, write_containers_conf};
use crate::support::{
    egress_trap::EgressTrap,
    images::Image,
    process::{CommandResult, isolated, run},
    scratch,
};

const NO_VERIFYING: &str = "--tls-verify=false";

pub(crate) struct Podman {
    dir: TempDir,
    trap: EgressTrap,
    tls: String,
}

impl Podman {
    pub(crate) fn new(mirror: &str, trap: &EgressTrap) -> Self {
        let dir = scratch::dir("podman");
        write_containers_conf(dir.path(), mirror, trap);
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir, trap: trap.clone(), tls: NO_VERIFYING.to_owned() }
    }

    /// Asks the mirror of each registry, at `host:port`.
    pub(crate) fn mirroring(self, registries: &[(&str, String)]) -> Self {
        let file = self.dir.path().join("registries.conf");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (registry, mirror) in registries {
            let behind = self.trap.url();
            let behind = behind.strip_prefix("http://").unwrap();
            text += &format!("[[registry]]\nprefix = \"{registry}\"\nlocation = \"{behind}\"\ninsecure = true\n");
            text += &format!("[[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n");
        }
        std::fs::write(file, text).unwrap();
        self
    }

    /// Verifies certificates with the authority in `certs`.
    pub(crate) fn trusting(self, certs: &Path) -> Self {
        Self { tls: format!("--cert-dir={}", certs.display()), ..self }
    }

    /// The system's own container directories are empty and in memory for it.
    fn podman(&self, arguments: &[&str]) -> Command {
        let mut podman = isolated("podman", &["/var/lib/containers:1g", "/run/containers:1g", "/run/libpod:1g"]);
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "libpod")] {
            podman.arg(flag).arg(self.dir.path().join(name));
        }
        podman.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]).args(arguments);
        podman.env("REGISTRY_AUTH_FILE", self.dir.path().join("auth.json"));
        podman.env("CONTAINERS_REGISTRIES_CONF", self.dir.path().join("registries.conf"));
        podman.current_dir(self.dir.path()).env("HOME", self.dir.path()).env("TMPDIR", self.dir.path().join("tmp"));
        self.trap.around(&mut podman);
        podman
    }
}

impl Containers for Podman {
    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn tls(&self) -> &str {
        &self.tls
    }

    fn output(&self, arguments: &[&str]) -> String {
        run("podman", self.podman(arguments), PULL).expect_success("podman").output
    }
}

impl Client for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn pull_from(&self, name: &str) -> Pulled {
        self.fetch(name);
        let config = format!("sha256:{}", self.output(&["image", "inspect", "--format={{.Id}}", name]).trim());
        // It keeps both the index and the platform manifest; this is the one that was requested.
        let digest = self.output(&["image", "inspect", "--format={{.Digest}}", name]).trim().to_owned();
        self.output(&["rmi", "--all", "--force"]);
        Pulled { digest, config }
    }

    fn push(&self, what: What<'_>, name: &str) -> String {
        self.push_image(what, name)
    }
}

impl Member for Podman {
    fn log_in(&mut self, registry: &str, user: &str, password: &str) -> Option<CommandResult> {
        let login = ["login", &self.tls, "--username", user, "--password", password, registry];
        Some(run("podman login", self.podman(&login), PULL))
    }

    fn log_out(&mut self, registry: &str) {
        self.output(&["logout", registry]);
    }

    fn try_pull(&self, name: &str) -> CommandResult {
        let pull = ["pull", "--quiet", &self.tls, "--arch=amd64", &self.policy(), name];
        let outcome = run("podman pull", self.podman(&pull), PULL);
        self.output(&["rmi", "--all", "--force"]);
        outcome
    }

    fn try_push(&self, image: &Image, name: &str) -> CommandResult {
        let id = self.fetch(layout(image, self.dir.path()));
        let push = ["push", &self.tls, &self.policy(), &id, &format!("docker://{name}")];
        let outcome = run("podman push", self.podman(&push), PULL);
        self.output(&["rmi", "--all", "--force"]);
        outcome
    }
}
