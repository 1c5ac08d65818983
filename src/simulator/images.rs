//! The images of a synthetic registry: each is built on a shared base and gets newer versions over time. An object is
//! created when an image first needs it.

use super::{
    random::{Random, Zipf},
    registry::ImitatedRegistry,
    trace::{Id, Object, ObjectKind},
};

/// The number of base images, and the exponent of Zipf's law for their choice.
const BASES: (usize, f64) = (300, 1.0);
/// A base has from one to this many layers.
const BASE_LAYERS: usize = 4;
/// The median number of layers of an image, the spread of its logarithm, and the maximum (the limit of overlayfs in
/// docker).
const LAYERS: (f64, f64, usize) = (8.0, 0.5, 125);
/// The mean number of days between two versions of an image, and of a base.
const DAYS: (f64, f64) = (14.0, 30.0);
/// The probability that a new version is built on the newest version of its base.
const REBASED: f64 = 0.25;
/// The bounds of layer sizes: an empty gzipped tar, and 2 GB.
const LAYER_BYTES: (f64, f64) = (32.0, 2e9);
/// The median size of configurations in bytes, and the spread of its logarithm.
const CONFIG_BYTES: (f64, f64) = (6_000.0, 0.6);
/// The bytes of a manifest without layers, and for each layer.
const MANIFEST_BYTES: (u64, u64) = (500, 160);

const DAY: f64 = 86_400.0;

/// One version of an image: the objects that a pull requests.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) manifest: Id,
    pub(super) config: Id,
    /// The layers of the base come first.
    pub(super) layers: Vec<Id>,
    /// The number of layers that belong to the base.
    pub(super) shared: usize,
}

#[derive(Clone, Debug)]
struct Base {
    layers: Vec<Id>,
    renewed_at: f64,
}

#[derive(Clone, Debug)]
struct Image {
    base: usize,
    versions: Vec<Version>,
    renewed_at: f64,
}

/// All images of the registry.
#[derive(Debug)]
pub(super) struct Images {
    registry: ImitatedRegistry,
    bases: Vec<Option<Base>>,
    by_use: Zipf,
    images: Vec<Option<Image>>,
    pub(super) objects: Vec<Object>,
}

impl Images {
    pub(super) fn new(registry: ImitatedRegistry, images: usize) -> Self {
        let by_use = Zipf::new(BASES.0, BASES.1);
        Self { registry, bases: vec![None; BASES.0], by_use, images: vec![None; images], objects: Vec::new() }
    }

    /// Returns the versions of an image at a time in seconds, the newest last; at least one.
    pub(super) fn versions(&mut self, image: usize, now: f64, random: &mut Random) -> &[Version] {
        let mut known = match self.images[image].take() {
            None => self.first(now, random),
            Some(known) if known.renewed_at <= now => self.renewed(known, now, random),
            Some(known) => known,
        };
        known.versions.shrink_to_fit();
        &self.images[image].insert(known).versions
    }

    /// An image that is pulled only once: one to three layers on some base.
    pub(super) fn once(&mut self, now: f64, random: &mut Random) -> Version {
        let base = self.by_use.draw(random);
        let mut layers = self.base(base, now, random);
        let shared = layers.len();
        layers.extend((0..random.between(1, 3)).map(|_| self.layer(random)));
        self.version(layers, shared, random)
    }

    fn first(&mut self, now: f64, random: &mut Random) -> Image {
        let count = (random.lognormal(LAYERS.0, LAYERS.1).round() as usize).clamp(1, LAYERS.2);
        let base = self.by_use.draw(random);
        let mut layers = self.base(base, now, random);
        layers.truncate(count - 1);
        let shared = layers.len();
        layers.extend((shared..count).map(|_| self.layer(random)));
        let versions = vec![self.version(layers, shared, random)];
        Image { base, versions, renewed_at: now + random.exponential(DAYS.0 * DAY) }
    }

    /// Returns a new version: the last few layers are replaced, and sometimes those of its base.
    fn renewed(&mut self, mut image: Image, now: f64, random: &mut Random) -> Image {
        let Some(last) = image.versions.last().cloned() else { return self.first(now, random) };
        let Version { mut layers, mut shared, .. } = last;
        let anew = random.between(1, layers.len() - shared);
        let kept = layers.len() - anew;
        layers.truncate(kept);
        layers.extend((0..anew).map(|_| self.layer(random)));
        if random.chance(REBASED) {
            let base = self.base(image.base, now, random);
            let own = layers.split_off(shared);
            shared = base.len();
            layers = base.into_iter().chain(own).collect();
        }
        image.versions.push(self.version(layers, shared, random));
        image.renewed_at = now + random.exponential(DAYS.0 * DAY);
        image
    }

    fn base(&mut self, base: usize, now: f64, random: &mut Random) -> Vec<Id> {
        if let Some(known) = &self.bases[base]
            && known.renewed_at > now
        {
            return known.layers.clone();
        }
        let layers: Vec<Id> = (0..random.between(1, BASE_LAYERS)).map(|_| self.layer(random)).collect();
        let renewed_at = now + random.exponential(DAYS.1 * DAY);
        self.bases[base] = Some(Base { layers: layers.clone(), renewed_at });
        layers
    }

    fn version(&mut self, layers: Vec<Id>, shared: usize, random: &mut Random) -> Version {
        let size = MANIFEST_BYTES.0 + MANIFEST_BYTES.1 * layers.len() as u64;
        let manifest = self.object(size, ObjectKind::Manifest);
        let config = self.object(random.lognormal(CONFIG_BYTES.0, CONFIG_BYTES.1) as u64, ObjectKind::Config);
        Version { manifest, config, layers, shared }
    }

    fn layer(&mut self, random: &mut Random) -> Id {
        let (median, sigma) = self.registry.layers();
        let size = random.lognormal(median, sigma).clamp(LAYER_BYTES.0, LAYER_BYTES.1);
        self.object(size as u64, ObjectKind::Blob)
    }

    fn object(&mut self, size: u64, kind: ObjectKind) -> Id {
        self.objects.push(Object { size, kind });
        (self.objects.len() - 1) as Id
    }
}
