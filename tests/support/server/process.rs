//! Child processes that cannot outlive the test process, with their output kept in memory.
//!
//! `setpriv --pdeathsig KILL` ties a child to the *thread* that started it, and a test's thread ends before its process
//! does; so one thread that never ends starts them all.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{wait_for, wait_until};

type Order = (Command, Sender<std::io::Result<Child>>);

static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            reply.send(command.spawn()).unwrap();
        }
    });
    orders
});

/// The Debian packages that `./test` installs.
const PACKAGES: [(&str, &str); 24] = [
    ("valgrind", "valgrind"),
    ("callgrind_control", "valgrind"),
    ("debootstrap", "debootstrap"),
    ("docker-compose", "docker-compose"),
    ("pip3", "python3-pip"),
    ("kubectl", "kubernetes-client"),
    ("systemd-analyze", "systemd"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("skopeo", "skopeo"),
    ("strace", "strace"),
    ("script", "bsdutils"),
    ("docker-registry", "docker-registry"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("prlimit", "util-linux"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
];

/// A command that dies with the test process, and inherits only the search path of its environment.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(located(program)).env_clear();
    command.env("PATH", search_path()).stdin(Stdio::null());
    command
}

/// As [`command`], in a mount namespace of its own, in which `private` directories (`PATH:SIZE`) are empty and in
/// memory: no mount and no file there outlives the process.
pub(crate) fn isolated(program: &str, private: &[&str]) -> Command {
    const SCRIPT: &str = r#"
        while [ "$1" != -- ]; do mkdir -p "${1%:*}" && mount -t tmpfs -o size="${1##*:}" tmpfs "${1%:*}" || exit 125; shift; done
        shift; exec "$@"
    "#;
    let mut command = command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "isolated"]);
    command.args(private).arg("--").arg(located(program));
    command
}

/// The program's path; panics with the package to install if it is missing.
pub(crate) fn located(program: &str) -> PathBuf {
    if program.contains('/') {
        return program.into();
    }
    let found = search_path().split(':').map(|dir| PathBuf::from(dir).join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
        panic!("`{program}` is not on this machine: run ./test, which installs Debian's {package}");
    })
}

fn search_path() -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    format!("{inherited}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// A child in the background. Killed on drop.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(name: &str, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (reply, answer) = channel();
        SPAWNER.send((command, reply)).unwrap();
        let mut child = answer.recv().unwrap().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::default();
        let out = keep(child.stdout.take().unwrap(), &output);
        let err = keep(child.stderr.take().unwrap(), &output);
        Self { name: name.to_owned(), child, output, readers: vec![out, err] }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, both streams, line by line.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The first line printed that contains `part`.
    pub(crate) fn wait_for_line(&mut self, part: &str, limit: Duration) -> String {
        wait_for(&format!("`{part}` from {}", self.name), limit, || {
            let ended = self.has_ended();
            let line = self.output().lines().find(|line| line.contains(part)).map(str::to_owned);
            assert!(line.is_some() || !ended, "{} ended before it said `{part}`", self.name);
            line
        })
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end. Returns the time it took.
    pub(crate) fn terminate(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        wait_until(&format!("{} to end on SIGTERM", self.name), limit, || self.has_ended());
        (self.child.wait().unwrap(), start.elapsed())
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) {
        wait_until(&format!("{} to end", self.name), limit, || self.has_ended());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > limit {
                self.kill();
                return ExitStatus::from_raw(9);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "the test runner shows it with the failure")]
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let output = self.output();
            let tail: Vec<_> = output.lines().rev().take(60).collect();
            eprintln!("--- the end of what {} printed", self.name);
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
    }
}

fn keep(stream: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            output.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

/// The result of a finished command.
#[derive(Debug)]
pub(crate) struct CommandResult {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) took: Duration,
}

impl CommandResult {
    pub(crate) fn expect_success(self, what: &str) -> Self {
        assert!(self.status.success(), "{what} failed ({}) after {:?}:\n{}", self.status, self.took, self.output);
        self
    }
}

/// Runs a command until it exits, or kills it at `limit`.
pub(crate) fn run(name: &str, command: Command, limit: Duration) -> CommandResult {
    let start = Instant::now();
    let mut process = Process::start(name, command);
    let status = process.wait(limit);
    for reader in std::mem::take(&mut process.readers) {
        reader.join().unwrap();
    }
    CommandResult { status, output: process.output(), took: start.elapsed() }
}
