//! containerd with `ctr images pull --hosts-dir`.

use std::{process::Command, time::Duration};

use tempfile::TempDir;

use super::{Client, PULL, Pulled};
use crate::support::{
    fence::Fence,
    process::{Process, command, isolated, run},
    scratch,
};

pub(crate) struct Containerd {
    _daemon: Process,
    dir: TempDir,
    fence: Fence,
}

impl Containerd {
    pub(crate) fn start(mirror: &str, fence: &Fence) -> Self {
        let dir = scratch::dir("ctd");
        let hosts = dir.path().join("hosts/docker.io");
        std::fs::create_dir_all(&hosts).unwrap();
        let behind = fence.url();
        let text = format!("server = \"{behind}\"\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        std::fs::write(hosts.join("hosts.toml"), text).unwrap();
        std::fs::write(dir.path().join("config.toml"), configuration(&dir)).unwrap();
        let mut daemon = isolated("containerd", &[]);
        daemon.arg("--config").arg(dir.path().join("config.toml"));
        let mut daemon = Process::start("containerd", daemon);
        daemon.wait_for_line("containerd successfully booted", Duration::from_secs(60));
        Self { _daemon: daemon, dir, fence: fence.clone() }
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut ctr = command("ctr");
        ctr.arg("--address").arg(self.dir.path().join("sock")).args(["--namespace", "test"]).args(arguments);
        self.fence.around(&mut ctr);
        ctr
    }

    fn said(&self, arguments: &[&str]) -> String {
        run("ctr", self.ctr(arguments), PULL).expect_success("ctr").output
    }
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

    fn pull(&self, reference: &str) -> Pulled {
        let (image, hosts) = (format!("docker.io/{reference}"), self.dir.path().join("hosts"));
        let hosts = hosts.to_str().unwrap();
        self.said(&[
            "images",
            "pull",
            "--snapshotter",
            "native",
            "--platform",
            "linux/amd64",
            "--hosts-dir",
            hosts,
            &image,
        ]);
        let listed = self.said(&["images", "list"]);
        let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
        let config = self.config_of(&digest);
        self.said(&["images", "remove", "--sync", &image]);
        Pulled { digest, config }
    }
}

impl Containerd {
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
