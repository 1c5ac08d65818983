//! Failing system calls of a running server: attaches strace to it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{
    fault,
    process::{self, Process},
    scratch,
    server::Server,
};

/// A tracer of the calls on one path. As long as it exists, they fail if it is set to.
pub(crate) struct Injection {
    tracer: Process,
    file: PathBuf,
    _dir: TempDir,
}

impl Injection {
    /// Lets these calls on `path` fail with this error.
    pub(crate) fn failing(server: &Server, calls: &str, error: &str, path: &Path) -> Self {
        Self::start(server, Some(path), &[format!("trace={calls}"), format!("inject={calls}:error={error}")])
    }

    /// Lets the first such call on `path` fail with this error.
    pub(crate) fn once(server: &Server, call: &str, error: &str, path: &Path) -> Self {
        let inject = format!("inject={call}:error={error}:when=1");
        Self::start(server, Some(path), &[format!("trace={call}"), inject])
    }

    /// Only watches, for any path.
    pub(crate) fn watching_all(server: &Server, calls: &str) -> Self {
        Self::start(server, None, &[format!("trace={calls}")])
    }

    /// Only watches.
    pub(crate) fn watching(server: &Server, calls: &str, path: &Path) -> Self {
        Self::start(server, Some(path), &[format!("trace={calls}")])
    }

    fn start(server: &Server, path: Option<&Path>, expressions: &[String]) -> Self {
        let dir = scratch::dir("injected");
        let file = dir.path().join("calls");
        let mut command = process::command("strace");
        command.args(["-f", "-y", "-s", "4096", "-p", &server.id().to_string(), "-o"]).arg(&file);
        path.iter().for_each(|path| _ = command.arg("-P").arg(path));
        expressions.iter().for_each(|expression| _ = command.args(["-e", expression]));
        let mut tracer = Process::start("strace", command);
        tracer.wait_for_line("attached", Duration::from_secs(10));
        Self { tracer, file, _dir: dir }
    }

    /// Returns whether a call was made to fail so far.
    pub(crate) fn happened(&self) -> bool {
        fault::happened(&self.file)
    }

    /// Detaches from the server; returns the calls that were seen, each with a path below the volume.
    pub(crate) fn sites(mut self, volume: &Path) -> Vec<(String, PathBuf)> {
        self.tracer.terminate(Duration::from_secs(10));
        fault::sites_in(&self.file, volume)
    }

    /// Detaches from the server; returns the number of calls that were made to fail and of those that succeeded.
    pub(crate) fn end(mut self) -> (usize, usize) {
        self.tracer.terminate(Duration::from_secs(10));
        let trace = fs::read_to_string(&self.file).unwrap();
        let calls = |what: &str| trace.lines().filter(|line| line.trim_end().ends_with(what)).count();
        (calls("(INJECTED)"), calls("= 0"))
    }
}
