//! Each system call that maintenance makes on a volume fails once: pushed content stays, and the error names the path.
//! Two calls of each sort here; in the soak each of them with each error, or an even choice of very many.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{
    fault::{Fault, sites},
    images::{Format, Image},
    inject::Injection,
    process, reachability, scratch,
    server::{Server, Setup},
    upstream::Upstream,
    volume_check::VolumeCheck,
    wait_until,
};

/// The number of commands at a time, and of servers, which wait more than they work.
const COMMANDS: usize = 3;
const SERVERS: usize = 10;
const ERRORS: [&str; 4] = ["EIO", "EACCES", "EMFILE", "ENOSPC"];

/// Up to this many sites of one call fail with each of the errors in a soak. Of more sites, this many fail, with one
/// error each.
const MOST: usize = 60;

/// A call, and its path below the volume.
type Site = (String, PathBuf);

fn is_soak() -> bool {
    std::env::var_os("ENTREPOT_SOAK").is_some_and(|value| !value.is_empty())
}

/// The operation of a job on a volume.
struct Sites<'a> {
    calls: &'a [&'a str],
    all: &'a [Site],
    /// The files of content that has to stay.
    kept: &'a [PathBuf],
}

impl Sites<'_> {
    /// The sites that fail, and the error of each.
    fn chosen(&self) -> Vec<(Site, &'static str)> {
        let mut chosen = Vec::new();
        for (number, call) in self.calls.iter().enumerate() {
            let sites: Vec<_> = self.all.iter().filter(|site| site.0 == *call).cloned().collect();
            assert!(!sites.is_empty(), "{call} is never called: {:?}", self.all);
            match (is_soak(), sites.len()) {
                (false, _) => {
                    chosen.extend(
                        self.two(sites).zip((number..).step_by(2)).map(|(site, n)| (site, ERRORS[n % ERRORS.len()])),
                    );
                }
                (true, ..=MOST) => {
                    chosen.extend(sites.iter().flat_map(|site| ERRORS.map(|error| (site.clone(), error))));
                }
                (true, many) => chosen.extend(
                    sites
                        .into_iter()
                        .step_by(many.div_ceil(MOST))
                        .enumerate()
                        .map(|(n, site)| (site, ERRORS[n % ERRORS.len()])),
                ),
            }
        }
        chosen
    }

    /// The first site, and the first one of content that has to stay, which an error must not make absent or damaged.
    fn two(&self, sites: Vec<Site>) -> impl Iterator<Item = Site> {
        let mut sites = sites.into_iter();
        let first = sites.next();
        first.into_iter().chain(sites.find(|site| self.kept.contains(&site.1)))
    }
}

/// Lets each of the chosen sites fail, `at_once` at a time.
#[allow(clippy::print_stderr, reason = "a soak tells what it covered")]
fn each(what: &str, at_once: usize, sites: &Sites<'_>, fail: impl Fn(&Site, &'static str) + Sync) {
    let (begun, chosen) = (Instant::now(), sites.chosen());
    let injections = chosen.len();
    let left = Mutex::new(chosen);
    let next = || left.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((site, error)) = next() {
                    fail(&site, error);
                }
            });
        }
    });
    eprintln!("{what}: {} sites, {injections} injections, {:?}", sites.all.len(), begun.elapsed());
}

/// A volume with work for every maintenance command: complete images, one with a damaged layer, a manifest without a
/// tag, unlinked bytes.
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
        let layer = server.data().join("docker/registry/v2").join(reachability::data(&damaged.layer().digest));
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

    /// Every image on the disk is complete.
    fn is_whole(&self, data: &Path, after: &str) {
        let mut checker = VolumeCheck::new(data);
        for (name, image) in &self.images {
            assert_eq!(checker.tag(name, "1").as_deref(), Some(image.digest()), "{name} after {after}");
            assert!(checker.has_manifest(name, image.digest()), "{name} is not whole after {after}");
        }
    }

    /// The files of the blobs that have to stay, below the volume.
    fn files(&self) -> Vec<PathBuf> {
        let blobs = self.images.iter().flat_map(|(_, image)| image.blobs.iter().map(|blob| blob.digest.as_str()));
        let manifests = self.images.iter().map(|(_, image)| image.digest());
        let path = |digest| Path::new("docker/registry/v2").join(reachability::data(digest));
        blobs.chain(manifests).map(path).collect()
    }

    /// Lets each of the sites of a command fail.
    fn fails_well(&self, arguments: &[&str], calls: &[&str]) {
        let traced = self.copy();
        let arguments_of = |data: &Path| -> Vec<String> {
            [arguments, &["--data", data.to_str().unwrap()]].concat().into_iter().map(str::to_owned).collect()
        };
        let all = sites(calls, traced.path(), &arguments_of(traced.path()));
        let sites = Sites { calls, all: &all, kept: &self.files() };
        each(&arguments.join(" "), COMMANDS, &sites, |(call, path), error| {
            self.fails_once(&arguments_of, call, error, path);
        });
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
        // A folder that may stay is no failure, and a verification reads bytes again after an EIO.
        let is_failure = self.files().iter().any(|kept| path.ends_with(kept)) && (call, error) != ("pread64", "EIO");
        let status = faulty.outcome.status;
        assert!(!is_failure || status.code() == Some(1), "{what} is no failure: {status}\n{said}");
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

/// The calls of an eviction.
const EVICTION: [&str; 8] = ["openat", "getdents64", "statx", "read", "pread64", "unlink", "unlinkat", "rmdir"];

/// A stopped server's volume with an image that was pushed, and an image to be cached.
struct Cache {
    upstream: Upstream,
    server: Server,
    pushed: Image,
    cached: Image,
}

impl Cache {
    fn new() -> Self {
        let (pushed, cached) = (Image::single(Format::Oci, 1), Image::single(Format::Oci, 2));
        let upstream = Upstream::plain();
        upstream.add("hub/app", "1", &cached);
        let mut server = Self::setup(&upstream).start();
        server.target().image("team/app", "1", &pushed);
        server.stop();
        Self { upstream, server, pushed, cached }
    }

    /// The server's only background work is the eviction of content that is unused for a few seconds.
    fn setup(upstream: &Upstream) -> Setup {
        let setup = Setup::both(&upstream.url()).hosted("team/*").lease("0");
        setup.variable("REGISTRY_GC_INTERVAL", "0").variable("REGISTRY_VERIFY_INTERVAL", "0")
    }

    /// A server that has just cached the image, and evicts it after `ttl` seconds without a request.
    fn evicting(&self, volume: &Path, ttl: u64) -> Server {
        let mut copy = process::command("cp");
        copy.args(["-a", "-T"]).arg(self.server.data()).arg(volume);
        process::run("cp", copy, Duration::from_secs(20)).expect_success("cp");
        let server =
            Self::setup(&self.upstream).variable("REGISTRY_PROXY_TTL", &format!("{ttl}s")).data_at(volume).start();
        server.pull("hub/app", "1", &self.cached);
        server
    }

    /// The bytes of the cached image, below a volume.
    fn files(&self) -> Vec<PathBuf> {
        let digests = self.cached.blobs.iter().map(|blob| blob.digest.as_str()).chain([self.cached.digest()]);
        digests.map(|digest| Path::new("docker/registry/v2").join(reachability::data(digest))).collect()
    }

    fn goes(&self, volume: &Path) {
        let files = self.files();
        let is_gone = || files.iter().all(|file| !volume.join(file).exists());
        wait_until("the cache to go", Duration::from_secs(30), is_gone);
    }

    /// The calls about cached content that an eviction makes.
    fn sites(&self) -> Vec<Site> {
        let volume = scratch::dir("volume");
        let server = self.evicting(volume.path(), 4);
        let watching = Injection::watching_all(&server, &EVICTION.join(","));
        self.goes(volume.path());
        std::thread::sleep(Duration::from_secs(1));
        let files = self.files();
        let mut found = watching.sites(volume.path());
        let is_cached = |path: &Path| {
            path.starts_with("mirrors") || files.iter().any(|file| path.starts_with(file.parent().unwrap()))
        };
        found.retain(|(_, path)| is_cached(path));
        found
    }

    fn fails_once(&self, call: &str, error: &str, path: &Path) {
        let what = format!("{error} of {call} at {}", path.display());
        // On a busy machine the server may check late: then it evicts later.
        assert!([3, 9, 18].into_iter().any(|ttl| self.failed(call, error, path, ttl, &what)), "there was no {what}");
    }

    /// Returns whether the call was made, and failed, while the test waited.
    fn failed(&self, call: &str, error: &str, path: &Path, ttl: u64, what: &str) -> bool {
        let volume = scratch::dir("volume");
        let path = volume.path().join(path);
        let mut server = self.evicting(volume.path(), ttl);
        let injection = Injection::once(&server, call, error, &path);
        let begun = Instant::now();
        while !injection.happened() {
            if begun.elapsed() > Duration::from_secs(ttl + 5) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The next walk finds an empty folder that stays; the next scan counts blocks that could not be counted.
        if !matches!(call, "rmdir" | "statx") {
            let logged = || names(&server.log(), volume.path(), &path);
            wait_until(&format!("{what} to be told"), Duration::from_secs(10), logged);
        }
        drop(injection);
        self.goes(volume.path());
        let mut checker = VolumeCheck::new(volume.path());
        assert!(checker.has_manifest("team/app", self.pushed.digest()), "{what}");
        server.pull("team/app", "1", &self.pushed);
        server.pull("hub/app", "1", &self.cached);
        server.stop();
        true
    }
}

/// Returns whether a log names a path, or a folder of its repository above it: a folder is removed with its content.
fn names(log: &str, volume: &Path, path: &Path) -> bool {
    let home = volume.join("mirrors/docker.io/repositories/hub/app");
    path.ancestors()
        .take_while(|above| *above == path || above.starts_with(&home))
        .any(|above| log.contains(above.to_str().unwrap()))
}

/// An eviction, by a server whose cache is unused.
#[test]
fn an_eviction_fails_well() {
    let cache = Cache::new();
    let all = cache.sites();
    let calls: Vec<_> = EVICTION.into_iter().filter(|call| all.iter().any(|site| site.0 == *call)).collect();
    let sites = Sites { calls: &calls, all: &all, kept: &[] };
    each("eviction", SERVERS, &sites, |(call, path), error| cache.fails_once(call, error, path));
}
