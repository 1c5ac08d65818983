//! System calls of a running server that fail: strace beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    process::{self, Process},
    scratch,
    server::Server,
};

/// A tracer of the calls that concern one path. While it lives, they fail if they are to.
pub(crate) struct Injection {
    tracer: Process,
    file: PathBuf,
    _dir: TempDir,
}

impl Injection {
    /// Lets these calls fail with this error where they concern `path`.
    pub(crate) fn failing(server: &Server, calls: &str, error: &str, path: &Path) -> Self {
        Self::start(server, path, &[format!("trace={calls}"), format!("inject={calls}:error={error}")])
    }

    /// Only watches.
    pub(crate) fn watching(server: &Server, calls: &str, path: &Path) -> Self {
        Self::start(server, path, &[format!("trace={calls}")])
    }

    fn start(server: &Server, path: &Path, expressions: &[String]) -> Self {
        let dir = scratch::dir("injected");
        let file = dir.path().join("calls");
        let mut command = process::command("strace");
        command.args(["-f", "-y", "-p", &server.id().to_string(), "-P"]).arg(path).arg("-o").arg(&file);
        expressions.iter().for_each(|expression| _ = command.args(["-e", expression]));
        let mut tracer = Process::start("strace", command);
        tracer.wait_for_line("attached", Duration::from_secs(10));
        Self { tracer, file, _dir: dir }
    }

    /// Lets go of the server; returns how many calls were made to fail and how many succeeded.
    pub(crate) fn end(mut self) -> (usize, usize) {
        self.tracer.terminate(Duration::from_secs(10));
        let trace = fs::read_to_string(&self.file).unwrap();
        let calls = |what: &str| trace.lines().filter(|line| line.trim_end().ends_with(what)).count();
        (calls("(INJECTED)"), calls("= 0"))
    }
}
