//! Every call that looking after a volume makes there fails once: whichever it is, what was pushed stays, and it is said
//! where it failed. One call of each sort here, each of them in the soak.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{
    fault::{Fault, happened, sites},
    images::{Format, Image},
    judge::Judge,
    process, reach, scratch,
    server::{Server, Setup},
    upstream::Upstream,
    wait_until,
};

const ERRORS: [&str; 4] = ["EIO", "EACCES", "EMFILE", "ENOSPC"];

fn is_soak() -> bool {
    std::env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty())
}

/// A volume with something to do for everybody who looks after it: images that are whole, one whose layer is damaged, a
/// manifest without a tag, bytes that nothing links.
struct Template {
    server: Server,
    images: Vec<(String, Image)>,
}

impl Template {
    fn new() -> Self {
        let mut server = Setup::hosting().variable("REGISTRY_GC_INTERVAL", "0").start();
        let target = server.target();
        let images: Vec<_> = (1..4).map(|seed| (format!("team/app{seed}"), Image::single(Format::Oci, seed))).collect();
        images.iter().for_each(|(name, image)| target.image(name, "1", image));
        let (damaged, untagged) = (Image::single(Format::Oci, 10), Image::single(Format::Oci, 11));
        target.image("team/damaged", "1", &damaged);
        target.image("team/app1", "2", &untagged);
        assert_eq!(target.delete("team/app1/manifests/2"), 202);
        let orphan = Image::single(Format::Oci, 12);
        target.blob("team/app2", orphan.layer());
        server.stop();
        let layer = server.data().join("docker/registry/v2").join(reach::data(&damaged.layer().digest));
        fs::write(layer, b"something else").unwrap();
        Self { server, images }
    }

    fn copy(&self) -> TempDir {
        let dir = scratch::dir("volume");
        let mut copy = process::command("cp");
        copy.args(["-a", "-T"]).arg(self.server.data()).arg(dir.path());
        process::run("cp", copy, Duration::from_secs(20)).expect_success("cp");
        dir
    }

    /// By the disk: every image is there, with all that it names.
    fn is_whole(&self, data: &Path, after: &str) {
        let mut judge = Judge::new(data);
        for (name, image) in &self.images {
            assert_eq!(judge.tag(name, "1").as_deref(), Some(image.digest()), "{name} after {after}");
            assert!(judge.has_manifest(name, image.digest()), "{name} is not whole after {after}");
        }
    }

    /// Has each of the sites of a command fail, or the first of each call.
    fn fails_well(&self, arguments: &[&str], calls: &[&str]) {
        let run = |data: &Path| [arguments, &["--data", data.to_str().unwrap()]].concat().join("\n");
        let traced = self.copy();
        let arguments_of = |data: &Path| run(data).lines().map(str::to_owned).collect::<Vec<_>>();
        let all = sites(calls, traced.path(), &arguments_of(traced.path()));
        let mut seen = BTreeSet::new();
        for (number, (call, path)) in all.iter().enumerate() {
            if !seen.insert(call.clone()) && !is_soak() {
                continue;
            }
            let errors = if is_soak() { &ERRORS[..] } else { &ERRORS[number % ERRORS.len()..][..1] };
            errors.iter().for_each(|error| self.fails_once(&arguments_of, call, error, path));
        }
        let missing: Vec<_> = calls.iter().filter(|call| !seen.contains(**call)).collect();
        assert!(missing.is_empty(), "{arguments:?} never calls {missing:?}: {all:?}");
    }

    fn fails_once(&self, arguments: &impl Fn(&Path) -> Vec<String>, call: &str, error: &str, path: &Path) {
        let copy = self.copy();
        let path = copy.path().join(path);
        let arguments = arguments(copy.path());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let what = format!("{error} of {call} at {} in {arguments:?}", path.display());
        let faulty = Fault::once(call, error, &path).run(&arguments, &[]);
        assert!(faulty.happened(), "there was no {what}");
        self.is_whole(copy.path(), &what);
        let said = &faulty.outcome.output;
        assert!(said.contains(path.to_str().unwrap()), "{what} is not told:\n{said}");
    }
}

#[test]
fn a_collection_fails_well() {
    Template::new().fails_well(&["gc", "--untagged"], &["openat", "getdents64", "statx", "read", "unlink", "syncfs"]);
}

#[test]
fn a_rebuild_fails_well() {
    Template::new().fails_well(&["verify", "--rebuild-index"], &["openat", "getdents64", "statx", "read", "pread64"]);
}

#[test]
fn a_verification_fails_well() {
    Template::new().fails_well(&["verify"], &["openat", "getdents64", "statx", "pread64", "rename", "fsync"]);
}

/// An eviction, by a server whose cache nobody asks for.
#[test]
fn an_eviction_fails_well() {
    let upstream = Upstream::plain();
    let (pushed, cached) = (Image::single(Format::Oci, 1), Image::single(Format::Oci, 2));
    let setup = || Setup::both(&upstream.url()).hosted("team/*").variable("REGISTRY_GC_INTERVAL", "0").lease("0");
    upstream.add("hub/app", "1", &cached);
    let mut server = setup().start();
    server.target().image("team/app", "1", &pushed);
    server.pull("hub/app", "1", &cached);
    server.stop();
    let data = server.data();
    let blob = |digest: &str| data.join("docker/registry/v2").join(reach::data(digest));
    let home = data.join("mirrors/docker.io/repositories/hub/app/_manifests/tags");
    let sites: [(&str, PathBuf); 5] = [
        ("unlink", blob(&cached.layer().digest)),
        ("unlink", blob(cached.digest())),
        ("openat", home.clone()),
        ("getdents64", home),
        ("openat", blob(cached.digest())),
    ];
    let traces = scratch::dir("traces");
    for (number, (call, path)) in sites.into_iter().enumerate() {
        let trace = traces.path().join(number.to_string());
        let fault = Fault::once(call, ERRORS[number % 2], &path);
        let mut faulty = setup().variable("REGISTRY_PROXY_TTL", "1s").data_at(data).faulty(fault, &trace).start();
        wait_until(&format!("{call} at {path:?}"), Duration::from_secs(20), || happened(&trace));
        faulty.wait_for_log(path.to_str().unwrap(), Duration::from_secs(5));
        let mut judge = Judge::new(data);
        assert!(judge.has_manifest("team/app", pushed.digest()), "{call} at {path:?}");
        faulty.pull("team/app", "1", &pushed);
        faulty.pull("hub/app", "1", &cached);
        faulty.stop();
    }
}
