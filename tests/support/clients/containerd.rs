//! containerd with `ctr images pull --hosts-dir`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{Client, Member, PULL, Pulled, What, repository};
use crate::support::{
    egress_trap::EgressTrap,
    images::Image,
    process::{CommandResult, Process, run},
    release::Release,
    scratch,
};

pub(crate) struct Containerd {
    _daemon: Process,
    release: Release,
    dir: TempDir,
    trap: EgressTrap,
    certs: Option<PathBuf>,
    /// `user:password`: ctr has no login and needs it for each command.
    user: Option<String>,
    /// The registries whose mirror it asks.
    mirrored: Vec<String>,
}

impl Containerd {
    pub(crate) fn start(mirror: &str, trap: &EgressTrap, release: Release) -> Self {
        let dir = scratch::dir("ctd");
        std::fs::write(dir.path().join("config.toml"), configuration(&dir)).unwrap();
        let mut daemon = release.isolated("containerd", &[]);
        daemon.arg("--config").arg(dir.path().join("config.toml"));
        let mut daemon = Process::start("containerd", daemon);
        daemon.wait_for_line("containerd successfully booted", Duration::from_secs(60));
        let started =
            Self { _daemon: daemon, release, dir, trap: trap.clone(), certs: None, user: None, mirrored: Vec::new() };
        started.mirroring(mirror, &["docker.io"])
    }

    /// Asks this mirror for the registries.
    pub(crate) fn mirroring(mut self, mirror: &str, registries: &[&str]) -> Self {
        let behind = self.trap.url();
        let text = format!("server = \"{behind}\"\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        for registry in registries {
            let hosts = self.dir.path().join("hosts").join(registry);
            std::fs::create_dir_all(&hosts).unwrap();
            std::fs::write(hosts.join("hosts.toml"), &text).unwrap();
            self.mirrored.push(format!("{registry}/"));
        }
        self
    }

    /// Verifies certificates with the authority in `certs`.
    pub(crate) fn trusting(self, certs: &Path) -> Self {
        Self { certs: Some(certs.to_owned()), ..self }
    }

    /// The options for the registry of `name`, which is not a mirror. Without any, ctr uses plain HTTP for one on the
    /// loopback interface.
    fn options(&self, name: &str) -> Vec<String> {
        let Some(certs) = &self.certs else { return vec!["--plain-http".to_owned()] };
        let authority = name.split('/').next().unwrap();
        let hosts = self.dir.path().join("hosts");
        std::fs::create_dir_all(hosts.join(authority)).unwrap();
        let url = format!("https://{authority}");
        let mut text = format!("server = \"{url}\"\n[host.\"{url}\"]\n  ca = \"{}/ca.crt\"\n", certs.display());
        if certs.join("client.key").exists() {
            text += &format!("  client = [[\"{0}/client.cert\", \"{0}/client.key\"]]\n", certs.display());
        }
        std::fs::write(hosts.join(authority).join("hosts.toml"), text).unwrap();
        vec!["--hosts-dir".to_owned(), hosts.to_str().unwrap().to_owned()]
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut ctr = self.release.command("ctr");
        ctr.arg("--address").arg(self.dir.path().join("sock")).args(["--namespace", "test"]);
        match (&self.release, arguments) {
            // Otherwise the daemon transfers the image and does not unpack it, since the native snapshotter has no
            // platform.
            (Release::Sid(_), ["images", transfer @ ("pull" | "push"), rest @ ..]) => {
                ctr.args(["images", transfer, "--local"]).args(rest)
            }
            _ => ctr.args(arguments),
        };
        self.trap.around(&mut ctr);
        ctr
    }

    fn said(&self, arguments: &[&str]) -> String {
        run("ctr", self.ctr(arguments), PULL).expect_success("ctr").output
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn configuration(dir: &TempDir) -> String {
    let dir = dir.path().display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{dir}/sock"
[ttrpc]
  address = "{dir}/ttrpc"
"#
    )
}

impl Client for Containerd {
    fn name(&self) -> &'static str {
        "ctr"
    }

    fn pull_from(&self, name: &str) -> Pulled {
        self.fetch(name);
        let digest = self.digest_of(name);
        let config = self.config_of(&digest);
        self.remove(&[name]);
        Pulled { digest, config }
    }

    fn push(&self, what: What<'_>, name: &str) -> String {
        let mut names = vec![name.to_owned()];
        match what {
            What::Own(image) => self.import(image, name),
            What::Pulled(reference) => {
                names.push(format!("docker.io/{reference}"));
                self.fetch(&names[1]);
                self.said(&["images", "tag", &names[1], name]);
            }
        }
        self.said(&[&["images", "push"], &borrowed(&self.options(name))[..], &[name]].concat());
        let digest = self.digest_of(name);
        self.remove(&names.iter().map(String::as_str).collect::<Vec<_>>());
        digest
    }
}

impl Containerd {
    fn fetch(&self, name: &str) {
        let hosts = self.dir.path().join("hosts");
        let hosts = ["--hosts-dir", hosts.to_str().unwrap()];
        let own = self.options(name);
        let own = borrowed(&own);
        let way: &[&str] = if self.mirrored.iter().any(|registry| name.starts_with(registry)) { &hosts } else { &own };
        let pull = ["images", "pull", "--snapshotter", "native", "--platform", "linux/amd64"];
        self.said(&[&pull, way, &[name]].concat());
    }

    fn import(&self, image: &Image, name: &str) {
        let layout = scratch::dir("layout");
        let (_, tag) = name.rsplit_once(':').unwrap();
        image.write_layout(layout.path(), tag);
        let file = self.dir.path().join("image.tar");
        let mut archive = tar::Builder::new(std::fs::File::create(&file).unwrap());
        archive.append_dir_all(".", layout.path()).unwrap();
        archive.finish().unwrap();
        let base = ["images", "import", "--no-unpack", "--base-name", repository(name)];
        self.said(&[&base[..], &[file.to_str().unwrap()]].concat());
        std::fs::remove_file(file).unwrap();
    }

    fn digest_of(&self, name: &str) -> String {
        let listed = self.said(&["images", "list", &format!("name=={name}")]);
        listed
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .unwrap_or_else(|| panic!("{listed}"))
            .to_owned()
    }

    /// Removes these names and all content that only they reference.
    fn remove(&self, names: &[&str]) {
        self.said(&[&["images", "remove", "--sync"], names].concat());
    }

    /// Follows index and manifest in the content store to the configuration.
    fn config_of(&self, digest: &str) -> String {
        let text = self.said(&["content", "get", digest]);
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        match manifest["manifests"][0]["digest"].as_str() {
            Some(child) => self.config_of(child),
            None => manifest["config"]["digest"].as_str().unwrap().to_owned(),
        }
    }
}

impl Member for Containerd {
    fn log_in(&mut self, _registry: &str, user: &str, password: &str) -> Option<CommandResult> {
        self.user = Some(format!("{user}:{password}"));
        None
    }

    fn log_out(&mut self, _registry: &str) {
        self.user = None;
    }

    fn try_pull(&self, name: &str) -> CommandResult {
        let (way, pull) =
            (self.options(name), ["images", "pull", "--snapshotter", "native", "--platform", "linux/amd64"]);
        let outcome =
            run("ctr pull", self.ctr(&[&pull, &borrowed(&way)[..], &self.known_as(), &[name]].concat()), PULL);
        if outcome.status.success() {
            self.remove(&[name]);
        }
        outcome
    }

    fn try_push(&self, image: &Image, name: &str) -> CommandResult {
        self.import(image, name);
        let (way, push) = (self.options(name), ["images", "push"]);
        let outcome =
            run("ctr push", self.ctr(&[&push, &borrowed(&way)[..], &self.known_as(), &[name]].concat()), PULL);
        self.remove(&[name]);
        outcome
    }
}

impl Containerd {
    fn known_as(&self) -> Vec<&str> {
        self.user.as_deref().map(|user| vec!["--user", user]).unwrap_or_default()
    }
}
