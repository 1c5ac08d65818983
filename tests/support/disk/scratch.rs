//! One scratch directory for the whole test process, removed when the process ends, even by `kill -9`.
//!
//! A shell in a session of its own holds the read end of a pipe, and only this process holds the write end. When that
//! end closes, the shell unmounts and removes everything. The path is short: unix sockets allow 108 bytes.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use tempfile::TempDir;

/// Mounts are below the scratch directory only if a daemon ran without its own mount namespace.
const REAPER: &str = r#"
cat >/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    grep -F " $1/" /proc/self/mounts | cut -d' ' -f2 | sort -r | while read -r place; do umount -l "$place"; done
    for group in /sys/fs/cgroup/"${1##*/}" /sys/fs/cgroup/*/"${1##*/}"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
    done
    rm -rf -- "$1" && exit
    sleep 0.5
done
"#;

struct Root {
    path: PathBuf,
    _reaper: Child,
}

static ROOT: LazyLock<Root> = LazyLock::new(|| {
    let path = tempfile::Builder::new().prefix("entrepot-").tempdir().unwrap().keep();
    let reaper = Command::new("setsid")
        .args(["sh", "-c", REAPER, "reaper"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Root { path, _reaper: reaper }
});

/// A directory of a test's own, removed with the returned value.
pub(crate) fn dir(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).rand_bytes(4).tempdir_in(&ROOT.path).unwrap()
}

/// The scratch directory's own name: control groups of the same name are removed with it.
pub(crate) fn name() -> String {
    ROOT.path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Every file below `dir`, as a path relative to it, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(dir, dir, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        // A folder that has just been removed is no file.
        if kind.is_ok_and(|kind| kind.is_dir()) || path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}
