//! The origin of a client's programs: this machine's packages, or Debian sid's newer docker and containerd.
//!
//! Sid's packages are unpacked, not installed, and kept below `target/`. Its programs run in a mount namespace of their
//! own with sid's `/usr` over this machine's, so that they find each other and their libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::process::{command, isolated, run};

/// To be changed with the script below.
const RECIPE: &str = "1";
/// Enough for the slowest of Debian's mirrors.
const LONG: Duration = Duration::from_secs(900);

/// Unpacks the packages and those dependencies that may be older on this machine, the C library among them.
const UNPACK: &str = r#"
mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/root"
: >"$1/status"
cat >"$1/sid.sources" <<'TEXT'
Types: deb
URIs: http://deb.debian.org/debian
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
TEXT
sid() {
    apt-get -q -o Dir::Etc::sourcelist="$1/sid.sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$1/lists" \
        -o Dir::State::status="$1/status" -o Dir::Cache="$1/cache" -o APT::Install-Recommends=0 \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "${@:2}"
}
sid "$1" update
sid "$1" install --download-only -y containerd docker.io docker-cli
for package in "$1"/cache/archives/*.deb; do dpkg -x "$package" "$1/root"; done
mv "$1/root/usr" "$2.part"
mv "$2.part" "$2"
rm -r "$1"
"#;

#[derive(Clone)]
pub(crate) enum Release {
    Installed,
    /// Debian sid's `/usr`.
    Sid(PathBuf),
}

impl Release {
    /// Debian sid, unpacked if it is missing.
    pub(crate) fn sid() -> Self {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/images");
        fs::create_dir_all(&kept).unwrap();
        let lock = fs::File::create(kept.join("sid.lock")).unwrap();
        lock.lock().unwrap();
        let usr = kept.join(format!("sid-{RECIPE}"));
        if !usr.exists() {
            let work = kept.join("sid.work");
            let _ = fs::remove_dir_all(&work);
            let mut unpack = command("bash");
            unpack.args(["-euc", UNPACK, "unpack"]).arg(&work).arg(&usr);
            run("apt-get", unpack, LONG).expect_success("unpacking Debian sid's docker and containerd");
        }
        Self::Sid(usr)
    }

    /// As [`command`].
    pub(crate) fn command(&self, program: &str) -> Command {
        match self {
            Self::Installed => command(program),
            Self::Sid(_) => self.isolated(program, &[]),
        }
    }

    /// As [`isolated`].
    pub(crate) fn isolated(&self, program: &str, private: &[&str]) -> Command {
        const OVER: &str = r#"mount --bind "$1" /usr; shift; exec "$@""#;
        let Self::Sid(usr) = self else { return isolated(program, private) };
        let mut command = isolated("sh", private);
        command.args(["-euc", OVER, "release"]).arg(usr).arg(program);
        command
    }
}
