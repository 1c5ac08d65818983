//! The server under test: the real binary, on a free port, with a data directory of its own.

pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod tls;
pub(crate) mod users;

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::{Duration, Instant},
};

use ports::Port;
use process::{CommandResult, Process};
use tempfile::TempDir;

use super::{disk::Disk, fault::Fault, http, images::Image, scratch, uploads::Target, upstream::Upstream};

/// The value that containerd and dockerd send.
pub(crate) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";

/// The program.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_entrepot");

/// The setup of a server.
#[derive(Clone)]
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    config: Option<PathBuf>,
    data: Arc<TempDir>,
    /// The data directory, if the test chose it.
    elsewhere: Option<PathBuf>,
    /// True if the command line sets the data directory.
    flag: bool,
    disk: Option<u32>,
    trace: Option<PathBuf>,
    fault: Option<Fault>,
    files: Option<u32>,
    counts: Option<PathBuf>,
}

impl Setup {
    /// On a free port, with a fresh data directory.
    pub(crate) fn bare() -> Self {
        let data = Arc::new(scratch::dir("data"));
        let (config, elsewhere) = (None, None);
        let setup = Self {
            variables: Vec::new(),
            config,
            data,
            elsewhere,
            flag: true,
            disk: None,
            trace: None,
            fault: None,
            files: None,
            counts: None,
        };
        setup.variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
    }

    /// Mirrors the upstream at this URL.
    pub(crate) fn mirroring(url: &str) -> Self {
        Self::bare().variable("REGISTRY_PROXY_REMOTEURL", url)
    }

    /// Mirrors the upstream at this URL, and takes pushes and deletes.
    pub(crate) fn both(url: &str) -> Self {
        Self::mirroring(url).variable("REGISTRY_PROXY_PUSH", "true").deleting()
    }

    /// Mirrors nothing; takes pushes and deletes.
    pub(crate) fn hosting() -> Self {
        Self::bare().variable("REGISTRY_PROXY_ENABLED", "false").deleting()
    }

    fn deleting(self) -> Self {
        self.variable("REGISTRY_STORAGE_DELETE_ENABLED", "true")
    }

    /// The patterns of hosted repositories, as in `proxy.hosted`.
    pub(crate) fn hosted(self, patterns: &str) -> Self {
        self.variable("REGISTRY_PROXY_HOSTED", patterns)
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes all variables that were set so far.
    pub(crate) fn without_variables(mut self) -> Self {
        self.variables.clear();
        self
    }

    /// Sets the data directory by registry:2's variable, not by the flag.
    pub(crate) fn root_directory(mut self) -> Self {
        self.flag = false;
        let data = self.data().to_str().unwrap().to_owned();
        self.variable("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &data)
    }

    pub(crate) fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    /// The time for which a tag stays fresh.
    pub(crate) fn freshness(self, value: &str) -> Self {
        self.variable("REGISTRY_PROXY_FRESHNESS", value)
    }

    /// The data directory is a filesystem of its own of this many MiB, empty after each start.
    pub(crate) fn disk(mut self, mebibytes: u32) -> Self {
        self.disk = Some(mebibytes);
        self
    }

    /// The data directory, which is kept.
    pub(crate) fn data_at(mut self, dir: &Path) -> Self {
        self.elsewhere = Some(dir.to_owned());
        self
    }

    /// The data directory is on this filesystem.
    pub(crate) fn on(mut self, disk: &Disk) -> Self {
        self.elsewhere = Some(disk.data());
        self
    }

    /// The limit for stored bytes.
    pub(crate) fn quota(self, value: &str) -> Self {
        self.variable("REGISTRY_STORAGE_QUOTA", value)
    }

    /// The time for which served content is not evicted.
    pub(crate) fn lease(self, value: &str) -> Self {
        self.variable("REGISTRY_STORAGE_LEASE", value)
    }

    /// Traces the system calls that make writes durable, and the sends, into this file.
    pub(crate) fn traced(mut self, file: &Path) -> Self {
        self.trace = Some(file.to_owned());
        self
    }

    /// The limit of open files.
    pub(crate) fn files(mut self, most: u32) -> Self {
        self.files = Some(most);
        self
    }

    /// Counts its instructions by callgrind; dumps are at this path with a number behind.
    pub(crate) fn counted(mut self, file: &Path) -> Self {
        self.counts = Some(file.to_owned());
        self
    }

    /// Lets one of its system calls fail or be slow; the trace is written to this file.
    pub(crate) fn faulty(mut self, fault: Fault, trace: &Path) -> Self {
        (self.trace, self.fault) = (Some(trace.to_owned()), Some(fault));
        self
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.elsewhere.as_deref().unwrap_or(self.data.path())
    }

    pub(crate) fn start(self) -> Server {
        let (process, url) = launch(&self);
        Server { process, url, setup: self }
    }

    /// Starts on this port, even if the log does not contain the address.
    pub(crate) fn start_at(self, port: &Port) -> Server {
        let setup = self.variable("REGISTRY_HTTP_ADDR", &port.addr().to_string());
        let process = Process::start("entrepot", setup.command());
        let reached = || TcpStream::connect(port.addr()).is_ok();
        super::wait_until("the server to listen", Duration::from_secs(20), reached);
        Server { process, url: port.url(), setup }
    }

    /// Runs `entrepot serve` until it exits by itself.
    pub(crate) fn run(&self) -> CommandResult {
        process::run("entrepot", self.command(), Duration::from_secs(20))
    }

    fn command(&self) -> Command {
        let data = self.data().to_str().unwrap();
        let mut command = match (self.disk, &self.trace) {
            (None, None) => self.plain(),
            (None, Some(file)) => self.under_strace(file),
            (Some(size), _) => process::isolated(BINARY, &[&format!("{data}:{size}m")]),
        };
        command.arg("serve").args(&self.config);
        if self.flag {
            command.arg("--data").arg(self.data());
        }
        command.envs(self.variables.iter().cloned()).env("RUST_BACKTRACE", "1");
        command
    }

    fn plain(&self) -> Command {
        if let Some(file) = &self.counts {
            let mut command = process::command("valgrind");
            command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", file.display())).arg(BINARY);
            return command;
        }
        let Some(most) = self.files else { return process::command(BINARY) };
        let mut command = process::command("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(BINARY);
        command
    }

    fn under_strace(&self, file: &Path) -> Command {
        let Some(fault) = &self.fault else { return traced(file) };
        let mut command = fault.command(file, true);
        command.arg(BINARY);
        command
    }
}

/// The server itself stays the child; the tracer is beside it, and ends with it.
fn traced(file: &Path) -> Command {
    const CALLS: &str = "trace=fsync,fdatasync,syncfs,sync,sync_file_range,mkdir,mkdirat,rename,renameat,renameat2,\
                         link,linkat,write,writev,pwrite64,pwritev,sendto,sendmsg";
    let mut command = process::command("strace");
    command.args(["-D", "-f", "-y", "-s", "64", "-e", CALLS, "-o"]).arg(file).arg(BINARY);
    command
}

/// Runs `entrepot` with these arguments until it exits.
pub(crate) fn entrepot(arguments: &[&str], variables: &[(&str, &str)]) -> CommandResult {
    let mut command = process::command(BINARY);
    command.args(arguments).envs(variables.iter().copied());
    process::run("entrepot", command, Duration::from_secs(20))
}

/// A running server. Killed on drop.
pub(crate) struct Server {
    process: Process,
    url: String,
    setup: Setup,
}

impl Server {
    /// Mirrors `upstream`, with the default settings.
    pub(crate) fn mirroring(upstream: &Upstream) -> Self {
        Setup::mirroring(&upstream.url()).start()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the mirror listener.
    pub(crate) fn mirror_url(&self) -> String {
        let line = super::wait_for("the mirror listener", Duration::from_secs(20), || {
            self.log().lines().find(|line| line.contains("without a password, on ")).map(str::to_owned)
        });
        line.split("without a password, on ").nth(1).unwrap().trim().to_owned()
    }

    /// Its current memory, in bytes (`VmRSS`).
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Its current memory without mapped files, in bytes (`RssAnon`).
    pub(crate) fn anonymous_memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// `http://127.0.0.1:PORT/v2/<path>`
    pub(crate) fn v2(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.url)
    }

    /// A GET of a manifest, with the media types that clients accept.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> http::Request {
        http::get(&self.v2(&format!("{repository}/manifests/{reference}"))).header("Accept", ACCEPT)
    }

    /// A GET of a blob.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> http::Request {
        http::get(&self.v2(&format!("{repository}/blobs/{digest}")))
    }

    /// Pulls as a client with an empty store does: the tag, its platforms' manifests, every blob; checks each digest.
    pub(crate) fn pull(&self, repository: &str, tag: &str, image: &Image) {
        let top = self.manifest(repository, tag).send();
        assert_eq!((top.status, top.summary().digest.as_str()), (200, image.digest()), "{repository}:{tag}");
        for child in &image.children {
            let child_response = self.manifest(repository, &child.digest).send();
            assert_eq!((child_response.status, child_response.summary().digest.as_str()), (200, child.digest.as_str()));
        }
        for blob in &image.blobs {
            let response = self.blob(repository, &blob.digest).send();
            assert_eq!((response.status, response.summary().digest.as_str()), (200, blob.digest.as_str()));
        }
    }

    pub(crate) fn data(&self) -> &Path {
        self.setup.data()
    }

    /// A target for pushes.
    pub(crate) fn target(&self) -> Target {
        Target::open(&self.url)
    }

    /// Resets [`Self::peak_memory`]. Returns the peak until now.
    pub(crate) fn forget_peak_memory(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        self.peak_memory()
    }

    /// The bytes by which the peak has risen above `before`. The kernel counts in batches of each processor, so that
    /// without any allocation the second figure may be a little below the first.
    pub(crate) fn peak_above(&self, before: u64) -> u64 {
        self.peak_memory().saturating_sub(before)
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for_log(&mut self, part: &str, limit: Duration) {
        self.process.wait_for_line(part, limit);
    }

    /// Its peak memory so far, in bytes (`VmHWM`).
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The process id since the last start.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything logged since the last start.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// The process's limits, as the kernel shows them.
    pub(crate) fn limits(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/limits", self.id())).unwrap()
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

    /// Waits until another event ends the process.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) {
        super::wait_until("the server to end", limit, || self.process.has_ended());
    }

    /// Starts again on the same data, on another port. Returns the time it took.
    pub(crate) fn restart(&mut self) -> Duration {
        self.process.kill();
        let start = Instant::now();
        (self.process, self.url) = launch(&self.setup);
        start.elapsed()
    }
}

fn launch(setup: &Setup) -> (Process, String) {
    let mut process = Process::start("entrepot", setup.command());
    let limit = if setup.counts.is_some() { 120 } else { 20 };
    let line = process.wait_for_line("listening on http", Duration::from_secs(limit));
    let address = line.split("listening on ").nth(1).unwrap();
    let address = address.split(|c: char| c.is_whitespace() || "\",".contains(c)).next().unwrap();
    (process, address.trim_end_matches('/').to_owned())
}
