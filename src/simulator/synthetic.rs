//! Generates synthetic traces of image pulls. The parameters are here and in `images.rs`; docs/eviction.md explains
//! them.

use std::{
    collections::HashSet,
    convert::Infallible,
    io::{self, Write},
};

use super::registry::{ImitatedRegistry, TraceRepository, TraceRequest};
use super::{
    csv,
    images::{Images, Version},
    random::{Random, Zipf},
    trace::{Id, Object, Trace},
};

/// The parameters of a trace: the same values always give the same trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// The registry whose layer sizes are imitated.
    pub registry: ImitatedRegistry,
    /// The exponent of Zipf's law over the images: registries' logs show 0.9 to 1.2.
    pub zipf: f64,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of requests, spread over 75 days.
    pub requests: u32,
}

/// Images that are pulled more than once.
const IMAGES: usize = 50_000;
/// The days of a trace: as many as in IBM's, for any number of requests.
const DAYS: f64 = 75.0;
/// The share of pulls of an image that is never pulled again.
const ONE_HIT_SHARE: f64 = 0.1;
/// The share of pulls of a version other than the newest, if there is one.
const OLDER_VERSION_SHARE: f64 = 0.2;
/// The share of pulls by a client that has the base image already and does not request its layers.
const HAS_BASE_SHARE: f64 = 0.5;
/// The probability that a pull starts a cluster's restart, and the bounds for the number of clients that then pull at
/// once.
const STORM: (f64, usize, usize) = (0.0025, 10, 200);
/// The mean number of requests of a pull, restarts included; the time between pulls follows from it.
const REQUESTS_A_PULL: f64 = 11.0;
/// Repositories that the builds of one-hit images push to.
const BUILDERS: usize = 200;

impl Synthetic {
    /// Makes the trace.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let (mut requests, mut seconds) = (Vec::with_capacity(self.requests as usize), 0.0);
        let (mut objects, mut numbers, mut repositories) = (Vec::new(), Vec::new(), HashSet::new());
        let Ok(()) = self.make(|request, object| {
            // An object that is never requested is not part of the trace.
            let made = request.object as usize;
            numbers.resize(numbers.len().max(made + 1), None);
            let number = *numbers[made].get_or_insert_with(|| {
                objects.push(*object);
                objects.len() - 1
            });
            requests.push(number as Id);
            repositories.insert(request.repository);
            seconds = request.time;
            Ok::<(), Infallible>(())
        });
        Trace { objects, requests, repositories: repositories.len(), seconds }
    }

    /// Makes the trace and writes it as the CSV that [`super::read`] reads, without holding it in memory.
    ///
    /// # Errors
    /// [`io::Error`] if writing fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        csv::header(out)?;
        self.make(|request, object| csv::line(out, self.seed, request, object))
    }

    /// Calls `take` with each request and its object.
    fn make<E>(&self, mut take: impl FnMut(&TraceRequest, &Object) -> Result<(), E>) -> Result<(), E> {
        let mut pulls = Pulls::new(*self);
        let mut left = self.requests;
        while left > 0 {
            let pull = pulls.next();
            for object in pull.requests() {
                let request = TraceRequest { time: pulls.now, repository: pull.repository, object };
                take(&request, &pulls.images.objects[object as usize])?;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// One image, requested by one client or by many at once.
struct Pull {
    repository: TraceRepository,
    version: Version,
    clients: usize,
    has_base: bool,
}

impl Pull {
    /// The requested objects in order; those of concurrent clients are interleaved.
    fn requests(&self) -> impl Iterator<Item = Id> {
        let own = if self.has_base { self.version.shared } else { 0 };
        let first = [self.version.manifest, self.version.config];
        let objects = first.into_iter().chain(self.version.layers[own..].iter().copied());
        objects.flat_map(|object| std::iter::repeat_n(object, self.clients))
    }
}

/// Generates the pulls, in order of time.
struct Pulls {
    images: Images,
    random: Random,
    popularity: Zipf,
    wait: f64,
    now: f64,
}

impl Pulls {
    fn new(of: Synthetic) -> Self {
        Self {
            images: Images::new(of.registry, IMAGES),
            random: Random::new(of.seed),
            popularity: Zipf::new(IMAGES, of.zipf),
            wait: DAYS * 86_400.0 * REQUESTS_A_PULL / f64::from(of.requests.max(1)),
            now: 0.0,
        }
    }

    fn next(&mut self) -> Pull {
        self.now += self.random.exponential(self.wait);
        if self.random.chance(ONE_HIT_SHARE) { self.built() } else { self.known() }
    }

    fn built(&mut self) -> Pull {
        let version = self.images.once(self.now, &mut self.random);
        let repository = TraceRepository::Builder(self.random.between(0, BUILDERS - 1));
        Pull { repository, version, clients: 1, has_base: self.random.chance(HAS_BASE_SHARE) }
    }

    fn known(&mut self) -> Pull {
        let image = self.popularity.draw(&mut self.random);
        let versions = self.images.versions(image, self.now, &mut self.random);
        let newest = versions.len() - 1;
        let old = newest > 0 && self.random.chance(OLDER_VERSION_SHARE);
        let version = versions[if old { self.random.between(0, newest - 1) } else { newest }].clone();
        let storm = self.random.chance(STORM.0);
        let clients = if storm { self.random.between(STORM.1, STORM.2) } else { 1 };
        Pull {
            repository: TraceRepository::Image(image),
            version,
            clients,
            has_base: !storm && self.random.chance(HAS_BASE_SHARE),
        }
    }
}
