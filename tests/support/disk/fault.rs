//! Failing and slow system calls: `strace` replaces the results of the program's calls, or delays them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{
    process::{self, CommandResult},
    scratch,
    server::BINARY,
};

/// Ends the traced program when `strace` is killed at the time limit; otherwise it would run on.
const ENDS_WITH_ITS_TRACER: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// One call that fails or is slow, or several.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Names of system calls, as `strace -e` takes them.
    pub(crate) calls: String,
    /// Its effect, as `strace -e inject` takes it: `error=EIO`, `delay_enter=1000`.
    effect: String,
    /// The path that the call is about.
    pub(crate) path: PathBuf,
    /// The calls on that path that are affected, as `strace` counts them: `1`, `2+`.
    pub(crate) when: &'static str,
}

impl Fault {
    /// The first such call on this path fails.
    pub(crate) fn once(calls: &str, error: &str, path: &Path) -> Self {
        let effect = format!("error={error}");
        Self { calls: calls.to_owned(), effect, path: path.to_owned(), when: "1" }
    }

    /// Every such call on this path fails.
    pub(crate) fn always(calls: &str, error: &str, path: &Path) -> Self {
        Self { when: "1+", ..Self::once(calls, error, path) }
    }

    /// The first such call on this path takes this long.
    pub(crate) fn slow(calls: &str, time: Duration, path: &Path) -> Self {
        let effect = format!("delay_enter={}", time.as_micros());
        Self { calls: calls.to_owned(), effect, path: path.to_owned(), when: "1" }
    }

    /// Runs `entrepot` under it, until it exits, for a minute at most.
    pub(crate) fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Faulty {
        let dir = scratch::dir("fault");
        let trace = dir.path().join("calls");
        let mut command = self.command(&trace, false);
        command.args(ENDS_WITH_ITS_TRACER).arg(BINARY).args(arguments).envs(variables.iter().copied());
        let outcome = process::run("entrepot", command, Duration::from_secs(60));
        Faulty { outcome, trace, _dir: dir }
    }

    /// The `strace` command line, to be followed by the program. Beside it, rather than as its parent, if `beside`.
    pub(crate) fn command(&self, trace: &Path, beside: bool) -> Command {
        let Self { calls, effect, path, when } = self;
        let mut command = process::command("strace");
        command.args(beside.then_some("-D")).args(["-f", "--seccomp-bpf", "-o"]).arg(trace).arg("-P").arg(path);
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{effect}:when={when}")]);
        command
    }
}

/// The result of a command one of whose calls failed.
pub(crate) struct Faulty {
    pub(crate) outcome: CommandResult,
    trace: PathBuf,
    _dir: TempDir,
}

impl Faulty {
    /// Returns whether the call was made, and failed.
    pub(crate) fn happened(&self) -> bool {
        happened(&self.trace)
    }
}

/// Returns whether a call of this trace was made to fail, or delayed.
pub(crate) fn happened(trace: &Path) -> bool {
    fs::read_to_string(trace).is_ok_and(|trace| trace.contains("(INJECTED)") || trace.contains("(DELAYED)"))
}

/// The calls that `entrepot` makes on a volume, each with a path there, in the order of their first occurrence. The
/// index is left out.
pub(crate) fn sites(calls: &[&str], volume: &Path, arguments: &[String]) -> Vec<(String, PathBuf)> {
    let dir = scratch::dir("sites");
    let trace = dir.path().join("calls");
    let mut command = process::command("strace");
    command.args(["-f", "-y", "-s", "4096", "-e", &format!("trace={}", calls.join(",")), "-o"]).arg(&trace);
    command.args(ENDS_WITH_ITS_TRACER).arg(BINARY).args(arguments);
    process::run("entrepot", command, Duration::from_secs(60));
    let mut found = sites_in(&trace, volume);
    found.retain(|site| calls.contains(&site.0.as_str()));
    found
}

/// The calls of a trace, each with a path below the volume, in the order of their first occurrence.
pub(crate) fn sites_in(trace: &Path, volume: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        found.extend(site(line, volume).filter(|site| !found.contains(site)));
    }
    found
}

/// The call and its path below the volume, from a line of a trace that begins or makes a call.
fn site(line: &str, volume: &Path) -> Option<(String, PathBuf)> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let at = rest.find(volume.to_str()?)?;
    let path = Path::new(rest[at..].split(['"', '>']).next()?);
    let below = path.strip_prefix(volume).ok()?;
    let is_ours = below.starts_with("docker") || below.starts_with("mirrors") || below.starts_with("quarantine");
    let is_synced = name == "syncfs";
    (is_ours || is_synced).then(|| (name.to_owned(), below.to_owned()))
}
