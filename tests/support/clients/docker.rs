//! dockerd with `registry-mirrors` and its managed containerd, in a mount namespace of its own.

use std::{process::Command, time::Duration};

use tempfile::TempDir;

use super::{Client, PULL, Pulled, repository};
use crate::support::{
    fence::Fence,
    process::{Process, command, isolated, run},
    scratch,
};

pub(crate) struct Docker {
    daemon: Process,
    dir: TempDir,
}

impl Docker {
    pub(crate) fn start(mirror: &str, fence: &Fence) -> Self {
        let dir = scratch::dir("docker");
        let config = serde_json::json!({ "registry-mirrors": [mirror], "insecure-registries": [] });
        std::fs::write(dir.path().join("daemon.json"), config.to_string()).unwrap();
        let mut daemon = isolated("dockerd", &[]);
        for (flag, name) in
            [("--config-file", "daemon.json"), ("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            daemon.arg(flag).arg(dir.path().join(name));
        }
        daemon.arg("--host").arg(format!("unix://{}", dir.path().join("sock").display()));
        daemon.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        daemon.args(["--bridge=none", "--storage-driver=vfs", "--group=root"]);
        fence.around(&mut daemon);
        let mut daemon = Process::start("dockerd", daemon);
        daemon.wait_for_line("API listen on", Duration::from_secs(60));
        Self { daemon, dir }
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = command("docker");
        docker.arg("--host").arg(format!("unix://{}", self.dir.path().join("sock").display()));
        docker.arg("--config").arg(self.dir.path().join("cli")).args(arguments);
        docker
    }

    fn inspect(&self, reference: &str, format: &str) -> String {
        let inspect = self.docker(&["image", "inspect", "--format", format, reference]);
        let outcome = run("docker image inspect", inspect, PULL).expect_success("docker image inspect");
        outcome.output.trim().to_owned()
    }
}

impl Client for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn pull(&self, reference: &str) -> Pulled {
        run("docker pull", self.docker(&["pull", reference]), PULL).expect_success("docker pull");
        let config = self.inspect(reference, "{{.Id}}");
        let digests = self.inspect(reference, "{{join .RepoDigests \" \"}}");
        let wanted = format!("{}@", repository(reference).trim_start_matches("library/"));
        let digest = digests.split(' ').find_map(|known| known.strip_prefix(&wanted));
        let digest = digest.unwrap_or_else(|| panic!("no {wanted} in {digests}")).to_owned();
        run("docker rmi", self.docker(&["rmi", "--force", &config]), PULL).expect_success("docker rmi");
        Pulled { digest, config }
    }
}

impl Drop for Docker {
    /// An orderly end, in which dockerd ends its containerd; what it does not manage in time is killed.
    fn drop(&mut self) {
        self.daemon.signal(rustix::process::Signal::TERM);
        for _ in 0..1000 {
            if self.daemon.has_ended() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
