//! A network namespace with its own mounts: only a loopback interface, a writable `/etc`, and empty state folders for
//! docker, containerd and podman. All its ports are free, and no traffic leaves it.
//!
//! Its first process dies with the test process, and all others with it, such as leftovers of daemons.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{
    process::{CommandResult, Process, command, run},
    scratch, wait_for,
};

/// The mounts, and the process that holds the namespace. `$1` is the namespace's own directory.
const BOOT: &str = r#"
set -e
ip link set lo up
mkdir -p "$1/etc" "$1/home" "$1/shims"
cp -a /etc/. "$1/etc"
rm -rf "$1/etc/docker" "$1/etc/containerd" "$1/etc/containers/registries.conf.d"
mount --bind "$1/etc" /etc
mount -t tmpfs tmpfs /run
for place in /var/lib/docker /var/lib/containerd /var/lib/containers /mnt; do
    mkdir -p "$1$place" "$place"
    mount --bind "$1$place" "$place"
done
echo booted
while :; do sleep 1000; done
"#;

/// Replaces `systemctl`, for the daemons that pages restart.
const SYSTEMCTL: &str = r#"#!/bin/sh
for unit; do :; done
mkdir -p /run/units
[ ! -e /run/units/$unit ] || { kill "$(cat /run/units/$unit)"; while kill -0 "$(cat /run/units/$unit)" 2>/dev/null; do sleep 0.1; done; }
case $unit in
    docker) start="dockerd --cgroup-parent /CGROUP" ready="docker version" ;;
    containerd) start=containerd ready="ctr version" ;;
    *) echo "systemctl: what is $unit?" >&2; exit 5 ;;
esac
setsid $start >>"$HOME/$unit.log" 2>&1 &
echo $! >/run/units/$unit
for attempt in $(seq 3000); do
    $ready >/dev/null 2>&1 && exit
    sleep 0.1
done
cat "$HOME/$unit.log" >&2
exit 1
"#;

pub(crate) struct Netns {
    process: Process,
    first: u32,
    dir: TempDir,
}

impl Netns {
    pub(crate) fn boot() -> Self {
        let dir = scratch::dir("machine");
        let mut boot = command("unshare");
        boot.args(["--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        boot.args(["--mount", "--propagation", "private", "sh", "-c", BOOT, "machine"]).arg(dir.path());
        let mut process = Process::start("the machine", boot);
        process.wait_for_line("booted", Duration::from_secs(300));
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let first = wait_for("the first process", Duration::from_secs(60), || {
            std::fs::read_to_string(&children).unwrap().trim().parse().ok()
        });
        let netns = Self { process, first, dir };
        netns.shim("systemctl", &SYSTEMCTL.replace("CGROUP", &scratch::name()));
        netns
    }

    /// Installs a program that shadows the system's.
    fn shim(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join("shims").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The working directory of commands: their user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The test's path of a path within the namespace.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    /// A command that runs in the namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut enter = command("nsenter");
        enter.args(["--target", &self.first.to_string(), "--net", "--uts", "--ipc", "--pid", "--mount"]);
        enter.arg(format!("--wd={}", self.home().display())).arg("--").arg(program);
        enter.env("HOME", self.home()).env("PATH", self.search_path()).env("LANG", "C.UTF-8");
        enter
    }

    fn search_path(&self) -> String {
        let shims = self.dir.path().join("shims");
        let inherited = std::env::var("PATH").unwrap_or_default();
        format!("{}:{inherited}:/usr/local/sbin:/usr/sbin:/sbin", shims.display())
    }

    /// Runs a shell script, in which every command must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.try_sh(script).expect_success(script).output
    }

    /// Repeats a command until it succeeds.
    pub(crate) fn until(&self, command: &str) {
        self.sh(&format!("for attempt in $(seq 1200); do {command} && exit; sleep 0.1; done; exit 1"));
    }

    /// Runs a script that must fail; returns its output.
    pub(crate) fn fails(&self, script: &str) -> String {
        let outcome = self.try_sh(script);
        assert!(!outcome.status.success(), "{script} succeeded:\n{}", outcome.output);
        outcome.output
    }

    fn try_sh(&self, script: &str) -> CommandResult {
        let mut sh = self.command("sh");
        sh.args(["-euc", script]);
        run("sh", sh, Duration::from_secs(900))
    }

    /// Starts a background process.
    pub(crate) fn start(&self, name: &str, command: Command, ready: &str) -> Process {
        let mut process = Process::start(name, command);
        process.wait_for_line(ready, Duration::from_secs(300));
        process
    }

    /// Docker, with this as its `daemon.json`.
    pub(crate) fn docker(&self, configuration: &serde_json::Value) {
        std::fs::create_dir_all(self.path("etc/docker")).unwrap();
        std::fs::write(self.path("etc/docker/daemon.json"), configuration.to_string()).unwrap();
        self.sh("systemctl restart docker");
    }

    /// Entrepot from this build, with these variables, on this directory.
    pub(crate) fn entrepot(&self, data: &Path, variables: &[(&str, &str)]) -> Process {
        let mut serve = self.command(env!("CARGO_BIN_EXE_entrepot"));
        serve.args(["serve", "--data"]).arg(data).envs(variables.iter().copied());
        self.start("entrepot", serve, "listening on")
    }
}

impl Drop for Netns {
    /// The mounts of its containers end with its last process.
    fn drop(&mut self) {
        self.process.kill();
    }
}
