//! The instructions that a request costs, counted by callgrind: unlike times, they are the same on a busy machine. A
//! bound that is passed is a request that has become dearer.
//!
//! The debug build is counted, since it is the one that every run of the tests has: its dependencies are optimised, its
//! own code is not, so that the counts are a few times those of a release. Callgrind counts what runs in the process,
//! not in the kernel. Bodies are small, because the instructions to hash a byte depend on the processor.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;

use crate::support::{
    http,
    images::{Blob, Format, Image},
    process::{command, run},
    scratch,
    server::{Server, Setup},
    upstream::Upstream,
};

/// Requests that are counted together: work that is done by time, not by request, is then a small part.
const COUNTED: usize = 100;
/// Requests before: the first ones fill caches.
const EARLIER: usize = 20;
const SMALL: usize = 4 << 10;
const NAME: &str = "library/app";

/// The most instructions of a request, with a tenth and some of room above what was measured.
const MANIFEST: u64 = 455_000;
const BLOB: u64 = 545_000;
const PUSH: u64 = 2_550_000;
const FILL: u64 = 2_330_000;

/// A server whose instructions are counted.
struct Counted {
    server: Server,
    dir: TempDir,
    dumps: usize,
}

impl Counted {
    fn start(upstream: &Upstream) -> Self {
        let dir = scratch::dir("callgrind");
        // No other work begins by itself meanwhile.
        let setup = Setup::both(&upstream.url()).freshness("1h").variable("REGISTRY_PROXY_PREFETCH", "false");
        let server = setup.counted(&dir.path().join("out")).start();
        Self { server, dir, dumps: 0 }
    }

    /// Returns the instructions of each request: of the later ones, by their number.
    fn each(&mut self, mut request: impl FnMut(&Server, usize)) -> u64 {
        (0..EARLIER).for_each(|number| request(&self.server, number));
        self.since_last();
        (EARLIER..EARLIER + COUNTED).for_each(|number| request(&self.server, number));
        self.since_last() / COUNTED as u64
    }

    /// Returns the instructions since the last call.
    fn since_last(&mut self) -> u64 {
        let mut dump = command("callgrind_control");
        dump.arg("--dump").arg(self.server.id().to_string());
        run("callgrind_control", dump, Duration::from_secs(60)).expect_success("a dump");
        self.dumps += 1;
        let file: PathBuf = self.dir.path().join(format!("out.{}", self.dumps));
        // The threads are counted apart, or together.
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("totals: ")).map(|total| total.parse::<u64>().unwrap()).sum()
    }
}

/// A warm manifest, a warm blob, a push and a fill cost no more instructions than they did.
#[test]
fn no_request_has_become_dearer() {
    let upstream = Upstream::plain();
    let image = Image::of_many_layers(Format::Oci, 9100, (EARLIER + COUNTED) as u64, SMALL);
    upstream.add(NAME, "1", &image);
    let mut counted = Counted::start(&upstream);
    let manifest = counted.each(|server, _| ok(server.manifest(NAME, "1").send()));
    let fill = counted.each(|server, number| ok(server.blob(NAME, &image.blobs[number].digest).send()));
    let blob = counted.each(|server, _| ok(server.blob(NAME, &image.blobs[0].digest).send()));
    let bodies: Vec<_> = (0..EARLIER + COUNTED).map(|number| Blob::noise(9500 + number as u64, SMALL)).collect();
    let push = counted.each(|server, number| server.target().blob("team/app", &bodies[number]));
    let counts = [("manifest", manifest, MANIFEST), ("blob", blob, BLOB), ("push", push, PUSH), ("fill", fill, FILL)];
    let passed: Vec<_> = counts.iter().filter(|(_, count, most)| count > most).collect();
    assert!(passed.is_empty(), "instructions and the most of them: {passed:?} of {counts:?}");
}

fn ok(response: http::Response) {
    assert_eq!(response.status, 200);
    response.summary();
}
