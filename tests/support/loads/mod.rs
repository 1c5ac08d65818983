//! Long-running loads, and the waits of small requests under them. The test and the benchmark share them: in the test
//! each takes a second, in the benchmark each is as large as in production.

mod hosted;
mod mirrored;
mod volume;
mod waits;

use std::time::Duration;

use bytes::Bytes;

use super::{
    disk::Disk,
    images::Blob,
    server::{Server, Setup},
};

pub(crate) use hosted::referrer;
pub(crate) use mirrored::{MIRRORED, mount_everywhere};
pub(crate) use volume::Volume;
pub(crate) use waits::{SmallRequests, Waits, watch};

/// The size of each load.
pub(crate) struct Sizes {
    /// Layers that are mounted into forty repositories at once, one after the other, and the size of each.
    pub(crate) mounted: usize,
    pub(crate) layer: usize,
    /// For a blob being filled: its bytes, the bytes per second, the first offset of ranges, the number of clients that
    /// request one, and the bytes that each takes.
    pub(crate) filling: usize,
    pub(crate) bandwidth: u64,
    pub(crate) ahead: usize,
    pub(crate) clients: usize,
    pub(crate) taken: usize,
    /// Bytes a second that these clients' network carries, for all together: on the loopback device they would take the
    /// processor that the server needs.
    pub(crate) network: u64,
    /// Clients that do not read.
    pub(crate) idle: usize,
    /// A full disk, in MiB.
    pub(crate) disk: u64,
    /// Repositories of a volume; each has two unreferenced blobs, and shares two with all others.
    pub(crate) repositories: usize,
    /// The disk of that volume, in MiB.
    pub(crate) volume: u64,
    /// Manifests that refer to one, and the size of each.
    pub(crate) referrers: usize,
    pub(crate) referrer: usize,
    pub(crate) tags: usize,
    /// Concurrent uploads, and the size of each.
    pub(crate) uploads: usize,
    pub(crate) upload: usize,
    /// The duration of lists and pulls.
    pub(crate) lasting: Duration,
    /// The time that clients of a silent upstream wait for a response.
    pub(crate) patience: Duration,
}

type Act = Box<dyn FnOnce(&Server) -> String>;

/// A server with a small warm blob, and a prepared load. `act` returns a remark on its outcome.
pub(crate) struct Scene {
    pub(crate) server: Server,
    /// The repository of the warm blob.
    repository: &'static str,
    warm: Blob,
    /// The load begins with the start of the server.
    restarts: bool,
    act: Act,
    _disk: Option<Disk>,
}

impl Scene {
    fn new(
        server: Server,
        repository: &'static str,
        warm: Blob,
        act: impl FnOnce(&Server) -> String + 'static,
    ) -> Self {
        Self { server, repository, warm, restarts: false, act: Box::new(act), _disk: None }
    }

    fn on(mut self, disk: Disk) -> Self {
        self._disk = Some(disk);
        self
    }

    /// Measures small requests in peace, then under the load, and at the same time those to `beside`.
    pub(crate) fn measure(mut self, peace: Duration, beside: &SmallRequests) -> Measured {
        let place = SmallRequests::new(&self.server, self.repository, &self.warm);
        place.warm();
        let ([peace], ()) = watch([&place], || std::thread::sleep(peace));
        if self.restarts {
            hosted::start_without_index(&mut self.server);
        }
        let place = SmallRequests::new(&self.server, self.repository, &self.warm);
        let begun = std::time::Instant::now();
        let ([loaded, beside], outcome) = watch([&place, beside], || (self.act)(&self.server));
        Measured { peace, loaded, beside, took: begun.elapsed(), outcome }
    }
}

/// The waits of small requests before and under a load, for each of [`SmallRequests::KINDS`].
pub(crate) struct Measured {
    pub(crate) peace: [Waits; 2],
    pub(crate) loaded: [Waits; 2],
    /// At an idle server meanwhile: it shows by how much the machine itself has become slower.
    pub(crate) beside: [Waits; 2],
    pub(crate) took: Duration,
    pub(crate) outcome: String,
}

/// Prepares a load.
pub(crate) type Load = fn(&Sizes) -> Scene;

/// Every load, by name.
pub(crate) const LOADS: [(&str, Load); 10] = [
    ("mounts", mirrored::mounts),
    ("ranges", mirrored::ranges),
    ("idle", mirrored::idle),
    ("evictions", mirrored::evictions),
    ("silence", mirrored::silence),
    ("collection", hosted::collection),
    ("rebuild", hosted::rebuild),
    ("referrers", hosted::referrers),
    ("tags", hosted::tags),
    ("uploads", hosted::uploads),
];

/// An idle server, which shows what the machine allows while another is under load.
pub(crate) fn bystander() -> (Server, SmallRequests) {
    let (server, blob) = (quiet(Setup::hosting()).start(), small());
    server.target().blob("team/warm", &blob);
    let place = SmallRequests::new(&server, "team/warm", &blob);
    place.warm();
    (server, place)
}

/// Without an access log, and without limits for one address.
fn quiet(setup: Setup) -> Setup {
    let setup = setup.variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true").variable("REGISTRY_HTTP_LIMITS_RATE", "0");
    setup.variable("REGISTRY_HTTP_LIMITS_PERADDRESS", "0")
}

fn small() -> Blob {
    Blob::noise(4043, 10_000)
}

/// Blocks of noise, each with a number of its own: many bytes, quickly.
struct Blocks {
    seed: u64,
    left: u64,
    block: Vec<u8>,
}

impl Blocks {
    const LENGTH: usize = 1 << 20;

    fn new(seed: u64, length: usize) -> Self {
        Self { seed, left: (length / Self::LENGTH) as u64, block: Blob::noise(4042, Self::LENGTH).bytes.to_vec() }
    }

    /// Calls `take` with each block.
    fn each(mut self, mut take: impl FnMut(&[u8])) {
        while self.left > 0 {
            self.left -= 1;
            self.block[..8].copy_from_slice(&(self.seed << 32 | self.left).to_le_bytes());
            take(&self.block);
        }
    }
}

/// A blob of such blocks, in memory for as long as it is held.
fn large(seed: u64, length: usize) -> Blob {
    let mut bytes = Vec::with_capacity(length);
    Blocks::new(seed, length).each(|block| bytes.extend_from_slice(block));
    Blob::new(Bytes::from(bytes))
}
