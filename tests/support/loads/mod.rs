//! Loads that take long, and the waits of small requests under them. The test and the benchmark share them: in the test each
//! takes a second, in the benchmark each is as large as in production.

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
pub(crate) use waits::{Place, Waits, watch};

/// The size of each load.
pub(crate) struct Sizes {
    /// Layers that are mounted into forty repositories at once, one after the other, and what each has.
    pub(crate) mounted: usize,
    pub(crate) layer: usize,
    /// Of a blob on its way: its bytes, how many come in a second, where ranges of it begin, how many clients ask for one, and
    /// how much of it each takes.
    pub(crate) filling: usize,
    pub(crate) bandwidth: u64,
    pub(crate) ahead: usize,
    pub(crate) clients: usize,
    pub(crate) taken: usize,
    /// Clients that do not read.
    pub(crate) idle: usize,
    /// A full disk, in MiB.
    pub(crate) disk: u64,
    /// Repositories of a volume; each has two blobs that nothing names, and shares two with all others.
    pub(crate) repositories: usize,
    /// The disk of that volume, in MiB.
    pub(crate) volume: u64,
    /// Manifests that refer to one, and what each has.
    pub(crate) referrers: usize,
    pub(crate) referrer: usize,
    pub(crate) tags: usize,
    /// Uploads at once, and what each has.
    pub(crate) uploads: usize,
    pub(crate) upload: usize,
    /// The time that lists and pulls go on for.
    pub(crate) lasting: Duration,
    /// The time that clients of a silent upstream wait for an answer.
    pub(crate) patience: Duration,
}

type Act = Box<dyn FnOnce(&Server) -> String>;

/// A server with a small warm blob, and the load that is about to begin. `act` returns a remark on its outcome.
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
    pub(crate) fn measure(mut self, peace: Duration, beside: &Place) -> Measured {
        let place = Place::new(&self.server, self.repository, &self.warm);
        place.warm();
        let ([peace], ()) = watch([&place], || std::thread::sleep(peace));
        if self.restarts {
            hosted::start_without_index(&mut self.server);
        }
        let place = Place::new(&self.server, self.repository, &self.warm);
        let begun = std::time::Instant::now();
        let ([loaded, beside], outcome) = watch([&place, beside], || (self.act)(&self.server));
        Measured { peace, loaded, beside, took: begun.elapsed(), outcome }
    }
}

/// The waits of small requests before and under a load, for each of [`Place::KINDS`].
pub(crate) struct Measured {
    pub(crate) peace: [Waits; 2],
    pub(crate) loaded: [Waits; 2],
    /// At an idle server meanwhile: by as much the machine itself had become slower.
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
pub(crate) fn bystander() -> (Server, Place) {
    let (server, blob) = (quiet(Setup::hosting()).start(), small());
    server.target().blob("team/warm", &blob);
    let place = Place::new(&server, "team/warm", &blob);
    place.warm();
    (server, place)
}

/// Nothing is logged of requests, and one address may do what many do.
fn quiet(setup: Setup) -> Setup {
    let setup = setup.variable("REGISTRY_LOG_ACCESSLOG_DISABLED", "true").variable("REGISTRY_HTTP_LIMITS_RATE", "0");
    setup.variable("REGISTRY_HTTP_LIMITS_PERADDRESS", "0")
}

fn small() -> Blob {
    Blob::noise(4043, 10_000)
}

/// Blocks of noise, each with a number no other has: many bytes, quickly.
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

    /// Calls `take` with each.
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
