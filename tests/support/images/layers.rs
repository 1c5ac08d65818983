//! The content of the base images' layers: Debian's trees by debootstrap, this machine's own toolchain, the crates that
//! `Cargo.lock` names, their compiled form, Debian's Prometheus. Each is a tar archive, made at the given path.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{
    pages,
    process::{command, located, run},
    scratch,
    server::BINARY,
};

/// Enough for the slowest mirror of Debian's.
const LONG: Duration = Duration::from_secs(1800);
/// The profile of the build in the image: the tests check the image, not its speed.
pub(crate) const PROFILE: &str = "dev";

/// Two trees: the content of `debian:bookworm-slim`, and the same with a compiler and the authorities' certificates.
pub(super) fn debian(kept: &Path) -> (PathBuf, PathBuf) {
    let (slim, full) = (kept.join("slim.tar"), kept.join("full.tar"));
    if !full.exists() {
        let dir = scratch::dir("debian");
        let root = dir.path().join("root");
        let root = root.to_str().unwrap();
        // A mirror can fail at any point.
        let fetch = format!("debootstrap --variant=minbase bookworm {root} http://deb.debian.org/debian");
        let anew = format!("umount -qR {root}/proc {root}/sys || true; rm -rf --one-file-system {root}");
        let packing = pack(root, &slim);
        apart(&format!(
            "for attempt in 1 2 3; do {fetch} && break; {anew}; done; test -e {root}/usr/bin/sh && {packing}"
        ));
        let options = "-qy -o Acquire::Retries=3 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends";
        let more = format!("apt-get update -q && apt-get install {options} gcc libc6-dev ca-certificates");
        apart(&format!("chroot {root} sh -c '{more}' && {}", pack(root, &full)));
    }
    (slim, full)
}

/// Packs a tree, without documentation, and renames the archive once it is complete.
fn pack(root: &str, file: &Path) -> String {
    let file = file.display();
    let leave =
        ["var/cache/apt/*", "var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "dev/*"];
    let leave = leave.map(|pattern| format!("--exclude='./{pattern}'")).join(" ");
    format!("tar --numeric-owner {leave} -C {root} -cf {file}.part . && mv {file}.part {file}")
}

/// Runs a script in a mount and process namespace of its own.
fn apart(script: &str) {
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["sh", "-euc", script]);
    run("debootstrap", unshare, LONG).expect_success(script);
}

/// The compiler and its library, as `/opt/rust`.
pub(super) fn toolchain(place: &Path) -> PathBuf {
    let mut tar = tar(place, "toolchain.tar", &sysroot());
    tar.args(["--transform", "s,^,opt/rust/,S", "--exclude=lib/rustlib/src", "--exclude=lib/rustlib/etc"]);
    packed(tar.args(["bin/cargo", "bin/rustc", "lib"]), place.join("toolchain.tar"))
}

/// The compiler's version and path.
pub(super) fn compiler() -> String {
    let mut rustc = command(sysroot().join("bin/rustc").to_str().unwrap());
    rustc.arg("-vV");
    let version = run("rustc", rustc, LONG).expect_success("rustc -vV").output;
    format!("{} {version}", sysroot().display())
}

/// The downloaded sources of the crates in `Cargo.lock`, in cargo's layout.
pub(super) fn crates(place: &Path) -> PathBuf {
    let registry = cargo_home().join("registry");
    let wanted: Vec<_> = locked().iter().map(|name| OsString::from(format!("{name}.crate"))).collect();
    let sources = entries(&registry.join("cache"));
    let crates = sources.iter().flat_map(|source| entries(source));
    let crates = crates.filter(|path| wanted.iter().any(|name| path.file_name() == Some(name)));
    let mut tar = tar(place, "crates.tar", Path::new("/"));
    for path in crates.chain([registry.join("index")]) {
        tar.arg(path.strip_prefix("/").unwrap());
    }
    packed(&mut tar, place.join("crates.tar"))
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// `name-version` of each.
fn locked() -> Vec<String> {
    let lock = pages::read("Cargo.lock");
    let value = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let lines: Vec<&str> = lock.lines().collect();
    let package = |pair: &[&str]| {
        let named = pair[0].starts_with("name = ") && pair[1].starts_with("version = ");
        named.then(|| Some(format!("{}-{}", value(pair[0])?, value(pair[1])?))).flatten()
    };
    lines.windows(2).filter_map(package).collect()
}

/// The compiled crates, as `/src/target`: the build finds there the cache of a docker that built before.
pub(super) fn compiled(place: &Path) -> PathBuf {
    let (own, target) = (place.join("crate"), place.join("compiled"));
    fs::create_dir_all(own.join("src")).unwrap();
    fs::create_dir_all(target.join("debug")).unwrap();
    fs::write(own.join("Cargo.toml"), manifest()).unwrap();
    fs::write(own.join("Cargo.lock"), pages::read("Cargo.lock")).unwrap();
    fs::write(own.join("src/main.rs"), "fn main() {}\n").unwrap();
    fs::write(own.join("src/lib.rs"), "").unwrap();
    take_compiled(&target.join("debug"));
    let mut cargo = command(env!("CARGO"));
    cargo.args(["build", "--locked", "--profile", PROFILE, "--target-dir"]).arg(&target).current_dir(&own);
    cargo.env("CARGO_HOME", cargo_home()).env("RUSTC", sysroot().join("bin/rustc"));
    run("cargo build", cargo, LONG).expect_success("cargo build of the dependencies");
    let mut tar = tar(place, "compiled.tar", &target);
    let tar = packed(tar.args(["--transform", r"s,^\.,src/target,S", "."]), place.join("compiled.tar"));
    fs::remove_dir_all(target).unwrap();
    tar
}

/// The compiled crates of the tests are used here, too, without Entrepot's own crate and check-only results.
fn take_compiled(to: &Path) {
    let from = Path::new(BINARY).parent().unwrap();
    let checked = entries(&from.join("deps")).into_iter().filter(|path| {
        path.extension().is_some_and(|extension| extension == "rmeta") && !path.with_extension("rlib").exists()
    });
    let mut list = String::new();
    for path in checked {
        writeln!(list, "deps/{}", path.file_name().unwrap().to_str().unwrap()).unwrap();
    }
    let without = to.join("without");
    fs::write(&without, list).unwrap();
    let script = "tar -C \"$1\" -cf - --exclude='*entrepot*' --exclude='deps/main-*' --exclude-from=\"$2/without\" \
                  .fingerprint build deps | tar -C \"$2\" -xf -";
    let mut sh = command("sh");
    sh.args(["-euc", script, "sh"]).arg(from).arg(to);
    run("tar", sh, LONG).expect_success("taking what is compiled");
    fs::remove_file(without).unwrap();
}

/// Entrepot's manifest, without tests and benches.
pub(super) fn manifest() -> String {
    let text = pages::read("Cargo.toml");
    let sections =
        text.split("\n\n").filter(|section| !section.starts_with("[[bench]]") && !section.starts_with("[[test]]"));
    sections.collect::<Vec<_>>().join("\n\n")
}

fn tar(place: &Path, name: &str, from: &Path) -> Command {
    let mut tar = command("tar");
    tar.args(["--numeric-owner", "--owner=0", "--group=0", "-cf"]).arg(place.join(name)).arg("-C").arg(from);
    tar
}

fn packed(tar: &mut Command, file: PathBuf) -> PathBuf {
    let tar = std::mem::replace(tar, Command::new("true"));
    run("tar", tar, LONG).expect_success("tar");
    file
}

/// The folder of the toolchain that built this test.
fn sysroot() -> PathBuf {
    let cargo = fs::canonicalize(env!("CARGO")).unwrap();
    cargo.parent().unwrap().parent().unwrap().to_owned()
}

pub(super) fn cargo_home() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").expect("a home")).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Debian's Prometheus, at the path of the project's image.
pub(super) fn prometheus(place: &Path) -> PathBuf {
    let program = located("prometheus");
    let mut tar = tar(place, "prometheus.tar", program.parent().unwrap());
    packed(tar.args(["--dereference", "--transform", "s,^,usr/bin/,", "prometheus"]), place.join("prometheus.tar"))
}
