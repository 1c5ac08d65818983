//! Synthetic traces: who pulls which image when. The parameters stand here and in `images.rs`, and docs/eviction.md argues them.

use std::{
    collections::HashSet,
    convert::Infallible,
    io::{self, Write},
};

use super::registry::{Registry, Repository, Request};
use super::{
    csv,
    images::{Images, Version},
    random::{Random, Zipf},
    trace::{Id, Object, Trace},
};

/// A trace to be made: the same for the same values, always.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// Whose layer sizes.
    pub registry: Registry,
    /// The exponent of Zipf's law over the images: 0.9 to 1.2 are what registries' logs show.
    pub zipf: f64,
    /// Where the random numbers begin.
    pub seed: u64,
    /// How many requests, spread over 75 days.
    pub requests: u32,
}

/// Images that are pulled more than once.
const IMAGES: usize = 50_000;
/// The days a trace covers; as many as IBM's, however many requests fall into them.
const DAYS: f64 = 75.0;
/// How often a pull is of an image that a build made and nobody pulls again.
const ONE_HIT: f64 = 0.1;
/// How often a pull is of a version that is not the newest, where there is one.
const OLDER: f64 = 0.2;
/// How often a client has the base of the image already and does not ask for its layers.
const HAS_BASE: f64 = 0.5;
/// How often a pull turns out to be a cluster's restart, and from how many clients to how many then pull at once.
const STORM: (f64, usize, usize) = (0.0025, 10, 200);
/// The requests of a pull on average, storms included: what the wait between pulls is reckoned from.
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
            // Some of what an image needs nobody ever asks for: it is not part of the trace.
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

    /// Makes the trace and writes it as the CSV that [`super::read`] takes, without holding it.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        csv::header(out)?;
        self.make(|request, object| csv::line(out, self.seed, request, object))
    }

    /// Hands over each request with its object.
    fn make<E>(&self, mut take: impl FnMut(&Request, &Object) -> Result<(), E>) -> Result<(), E> {
        let mut pulls = Pulls::new(*self);
        let mut left = self.requests;
        while left > 0 {
            let pull = pulls.next();
            for object in pull.requests() {
                let request = Request { time: pulls.now, repository: pull.repository, object };
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

/// One image asked for by one client, or by many at once.
struct Pull {
    repository: Repository,
    version: Version,
    clients: usize,
    has_base: bool,
}

impl Pull {
    /// What is asked for, in this order: clients of one storm go side by side.
    fn requests(&self) -> impl Iterator<Item = Id> {
        let own = if self.has_base { self.version.shared } else { 0 };
        let first = [self.version.manifest, self.version.config];
        let objects = first.into_iter().chain(self.version.layers[own..].iter().copied());
        objects.flat_map(|object| std::iter::repeat_n(object, self.clients))
    }
}

/// The pulls, one after another.
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
        if self.random.chance(ONE_HIT) { self.built() } else { self.known() }
    }

    fn built(&mut self) -> Pull {
        let version = self.images.once(self.now, &mut self.random);
        let repository = Repository::Builder(self.random.between(0, BUILDERS - 1));
        Pull { repository, version, clients: 1, has_base: self.random.chance(HAS_BASE) }
    }

    fn known(&mut self) -> Pull {
        let image = self.popularity.draw(&mut self.random);
        let versions = self.images.versions(image, self.now, &mut self.random);
        let newest = versions.len() - 1;
        let old = newest > 0 && self.random.chance(OLDER);
        let version = versions[if old { self.random.between(0, newest - 1) } else { newest }].clone();
        let storm = self.random.chance(STORM.0);
        let clients = if storm { self.random.between(STORM.1, STORM.2) } else { 1 };
        Pull {
            repository: Repository::Image(image),
            version,
            clients,
            has_base: !storm && self.random.chance(HAS_BASE),
        }
    }
}
