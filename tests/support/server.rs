//! The server under test: the real binary, on a port the kernel chose, over a data directory of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    process::{self, Outcome, Process},
    scratch,
    upstream::Upstream,
};

const BINARY: &str = env!("CARGO_BIN_EXE_entrepot");

/// What a server is started with.
#[derive(Clone)]
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    config: Option<PathBuf>,
    data: Arc<TempDir>,
}

impl Setup {
    /// Mirrors the upstream at this URL, on a free port, into a fresh directory.
    pub(crate) fn mirroring(url: &str) -> Self {
        let setup = Self { variables: Vec::new(), config: None, data: Arc::new(scratch::dir("data")) };
        setup.variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0").variable("REGISTRY_PROXY_REMOTEURL", url)
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Nothing of the environment but what is said hereafter.
    pub(crate) fn without_variables(mut self) -> Self {
        self.variables.clear();
        self
    }

    pub(crate) fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    /// How long a tag stays fresh.
    pub(crate) fn freshness(self, value: &str) -> Self {
        self.variable("REGISTRY_PROXY_FRESHNESS", value)
    }

    pub(crate) fn start(self) -> Server {
        let (process, url) = launch(&self);
        Server { process, url, setup: self }
    }

    /// Runs `entrepot serve` to an end that is expected to come by itself.
    pub(crate) fn run(&self) -> Outcome {
        process::run("entrepot", self.command(), Duration::from_secs(20))
    }

    fn command(&self) -> Command {
        let mut command = process::command(BINARY);
        command.arg("serve").args(&self.config).arg("--data").arg(self.data.path());
        command.envs(self.variables.iter().cloned()).env("RUST_BACKTRACE", "1");
        command
    }
}

/// `entrepot` with these arguments, run to its end.
pub(crate) fn entrepot(arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = process::command(BINARY);
    command.args(arguments).envs(variables.iter().copied());
    process::run("entrepot", command, Duration::from_secs(20))
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    process: Process,
    url: String,
    setup: Setup,
}

impl Server {
    /// Mirrors `upstream`, with everything as it is by default.
    pub(crate) fn mirroring(upstream: &Upstream) -> Self {
        Setup::mirroring(&upstream.url()).start()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// `http://127.0.0.1:PORT/v2/<path>`
    pub(crate) fn v2(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.url)
    }

    pub(crate) fn data(&self) -> &Path {
        self.setup.data.path()
    }

    /// Everything logged since the last start.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Resident memory's highest mark so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// `kill -9`
    pub(crate) fn kill9(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> (ExitStatus, Duration) {
        self.process.terminate(Duration::from_secs(30))
    }

    /// SIGTERM alone.
    pub(crate) fn ask_to_stop(&self) {
        self.process.signal(rustix::process::Signal::TERM);
    }

    /// Waits for an end that something else brings.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) {
        super::wait_until("the server to end", limit, || self.process.has_ended());
    }

    /// Starts again on the same data, on another port.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        (self.process, self.url) = launch(&self.setup);
    }
}

fn launch(setup: &Setup) -> (Process, String) {
    let mut process = Process::start("entrepot", setup.command());
    let line = process.wait_for_line("listening on http://", Duration::from_secs(20));
    let address = line.split("listening on ").nth(1).unwrap();
    let address = address.split(|c: char| c.is_whitespace() || "\",".contains(c)).next().unwrap();
    (process, address.trim_end_matches('/').to_owned())
}
