//! dockerd with `registry-mirrors` and its managed containerd, in a mount namespace of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use super::{Client, Member, PULL, Pulled, What, repository};
use crate::support::{
    egress_trap::EgressTrap,
    images::Image,
    process::{CommandResult, Process, run},
    release::Release,
    scratch,
};

pub(crate) struct Docker {
    daemon: Process,
    release: Release,
    dir: TempDir,
    certs: Option<PathBuf>,
}

impl Docker {
    pub(crate) fn start(mirror: &str, trap: &EgressTrap, release: Release) -> Self {
        Self::with_driver(mirror, trap, release, "vfs")
    }

    /// With this storage driver.
    pub(crate) fn with_driver(mirror: &str, trap: &EgressTrap, release: Release, driver: &str) -> Self {
        let dir = scratch::dir("docker");
        let config = serde_json::json!({ "registry-mirrors": [mirror], "insecure-registries": [] });
        std::fs::write(dir.path().join("daemon.json"), config.to_string()).unwrap();
        let mut daemon = release.isolated("dockerd", &["/etc/docker:1m"]);
        for (flag, name) in
            [("--config-file", "daemon.json"), ("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            daemon.arg(flag).arg(dir.path().join(name));
        }
        daemon.arg("--host").arg(format!("unix://{}", dir.path().join("sock").display()));
        daemon.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
        daemon.args(["--bridge=none", "--group=root", "--storage-driver", driver]);
        trap.around(&mut daemon);
        let mut daemon = Process::start("dockerd", daemon);
        daemon.wait_for_line("API listen on", Duration::from_secs(60));
        Self { daemon, release, dir, certs: None }
    }

    /// Verifies certificates with the authority in `certs`, except on the loopback network.
    pub(crate) fn trusting(mut self, certs: &Path) -> Self {
        self.certs = Some(certs.to_owned());
        self
    }

    /// Mounts the authority at dockerd's path for the registry of a name; only dockerd sees it.
    fn believe(&self, name: &str) {
        let Some(certs) = &self.certs else { return };
        let (own, registry) = (format!("/proc/{}/root/etc/docker/certs.d", self.daemon.id()), name.split('/').next());
        let dir = Path::new(&own).join(registry.unwrap());
        std::fs::create_dir_all(&dir).unwrap();
        for file in std::fs::read_dir(certs).unwrap().flatten() {
            std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
        }
    }

    /// The state after `docker login`.
    pub(crate) fn logged_in(self, user: &str, password: &str) -> Self {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let config = serde_json::json!({ "auths": { "https://index.docker.io/v1/": { "auth": auth } } });
        std::fs::create_dir_all(self.dir.path().join("cli")).unwrap();
        std::fs::write(self.dir.path().join("cli/config.json"), config.to_string()).unwrap();
        self
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = self.release.command("docker");
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

impl Docker {
    fn said(&self, arguments: &[&str]) -> String {
        let what = format!("docker {}", arguments[0]);
        run(&what, self.docker(arguments), PULL).expect_success(&what).output
    }

    /// Loads an archive, and returns the digest of the configuration of the image that has this name then. Removes it.
    pub(crate) fn load(&self, archive: &Path, name: &str) -> String {
        self.said(&["load", "--input", archive.to_str().unwrap()]);
        let config = self.inspect(name, "{{.Id}}");
        self.said(&["rmi", "--force", &config]);
        config
    }

    /// Gets the image under this name.
    fn bring(&self, what: What<'_>, name: &str) {
        match what {
            What::Own(image) => {
                let archive = self.dir.path().join("image.tar");
                image.write_archive(&archive, name);
                self.said(&["load", "--input", archive.to_str().unwrap()]);
                std::fs::remove_file(archive).unwrap();
            }
            What::Pulled(reference) => {
                self.said(&["pull", reference]);
                self.said(&["tag", reference, name]);
            }
        }
    }
}

impl Client for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn pull_from(&self, name: &str) -> Pulled {
        self.believe(name);
        self.said(&["pull", name]);
        let config = self.inspect(name, "{{.Id}}");
        let digests = self.inspect(name, "{{join .RepoDigests \" \"}}");
        let short = repository(name).trim_start_matches("docker.io/").trim_start_matches("library/");
        let wanted = format!("{short}@");
        let digest = digests.split(' ').find_map(|known| known.strip_prefix(&wanted));
        let digest = digest.unwrap_or_else(|| panic!("no {wanted} in {digests}")).to_owned();
        self.said(&["rmi", "--force", &config]);
        Pulled { digest, config }
    }

    fn push(&self, what: What<'_>, name: &str) -> String {
        self.believe(name);
        self.bring(what, name);
        let said = self.said(&["push", name]);
        let digest = said.split_whitespace().skip_while(|word| *word != "digest:").nth(1);
        let digest = digest.unwrap_or_else(|| panic!("no digest in {said}")).to_owned();
        self.said(&["rmi", "--force", &self.inspect(name, "{{.Id}}")]);
        digest
    }
}

impl Member for Docker {
    fn log_in(&mut self, registry: &str, user: &str, password: &str) -> Option<CommandResult> {
        self.believe(registry);
        let login = self.docker(&["login", "--username", user, "--password", password, registry]);
        Some(run("docker login", login, PULL))
    }

    fn log_out(&mut self, registry: &str) {
        self.said(&["logout", registry]);
    }

    fn try_pull(&self, name: &str) -> CommandResult {
        self.believe(name);
        let outcome = run("docker pull", self.docker(&["pull", name]), PULL);
        if outcome.status.success() {
            self.said(&["rmi", "--force", name]);
        }
        outcome
    }

    fn try_push(&self, image: &Image, name: &str) -> CommandResult {
        self.believe(name);
        self.bring(What::Own(image), name);
        let outcome = run("docker push", self.docker(&["push", name]), PULL);
        self.said(&["rmi", "--force", name]);
        outcome
    }
}

impl Drop for Docker {
    /// Ends dockerd in order, with its containerd; kills it after a time limit.
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
