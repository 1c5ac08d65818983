//! The bucket of the model: what the keys of one image hold, with their ages, and the requests that are on their way.

/// The name in an intent or a marker: a digest, or a tag of the repository that is pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A layer, which both manifests name.
    Layer,
    /// A manifest.
    First,
    /// Another manifest.
    Second,
    /// An index, which names the first manifest.
    Index,
    /// The tag.
    Tag,
}

/// The digests of manifests and indexes.
pub(crate) const MANIFESTS: [Name; 3] = [Name::First, Name::Second, Name::Index];

/// A set of names, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Names(u8);

impl Names {
    pub(crate) fn of(names: &[Name]) -> Self {
        Self(names.iter().fold(0, |bits, name| bits | 1 << *name as u8))
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn has(self, name: Name) -> bool {
        self.meets(Self::of(&[name]))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn with(self, name: Name) -> Self {
        Self(self.0 | 1 << name as u8)
    }

    pub(crate) fn without(self, name: Name) -> Self {
        Self(self.0 & !(1 << name as u8))
    }
}

/// The time since something was written, in half graces. It stops at [`GRACE`].
pub(crate) type Age = u8;

/// The age from which unreferenced content is collected, and from which intents and markers are void.
pub(crate) const GRACE: Age = 2;
/// The age from which a link is renewed before it counts.
pub(crate) const HALF: Age = 1;

/// The repository that is pushed to, and the one that layers are mounted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Repository {
    Target,
    Source,
}

/// A request that changes the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Request {
    PutBytes(Name),
    CopyMirrored,
    PutLayerLink,
    PutRevision(Name),
    PutTag(Name),
    DeleteLayerLink(Repository),
    DeleteBytes(Name),
    DeleteRevision(Name),
    DeleteTag,
    DeleteMirrored,
    PutIntent(Names),
    PutMarker(Names),
}

/// An intent or a marker whose owner died or gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Notice {
    pub(crate) names: Names,
    pub(crate) age: Age,
    /// Its deletion is on its way.
    pub(crate) is_leaving: bool,
}

/// The objects. `None` is absence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    pub(crate) bytes: [Option<Age>; 4],
    pub(crate) layer_links: [Option<Age>; 2],
    pub(crate) revisions: [Option<Age>; 4],
    pub(crate) tag: Option<Name>,
    /// The layer as mirrored content.
    pub(crate) mirrored: bool,
    /// The intents and markers of those that died or gave up. The others' are with their owners.
    pub(crate) intents: Vec<Notice>,
    pub(crate) markers: Vec<Notice>,
}

impl Bucket {
    pub(crate) fn has_bytes(&self, name: Name) -> bool {
        self.bytes[name as usize].is_some()
    }

    pub(crate) fn has_revision(&self, name: Name) -> bool {
        self.revisions[name as usize].is_some()
    }

    pub(crate) fn layer_link(&self, repository: Repository) -> Option<Age> {
        self.layer_links[repository as usize]
    }

    /// Returns whether all that a manifest names is here: a layer with its link, or a manifest with its revision link.
    pub(crate) fn has_content_of(&self, manifest: Name) -> bool {
        match manifest {
            Name::Index => self.has_bytes(Name::First) && self.has_revision(Name::First),
            _ => self.has_bytes(Name::Layer) && self.layer_link(Repository::Target).is_some(),
        }
    }

    /// Returns whether the tag or an index names a manifest.
    pub(crate) fn refers_to_revision(&self, manifest: Name) -> bool {
        self.tag == Some(manifest) || (manifest == Name::First && self.has_revision(Name::Index))
    }

    /// Returns whether a manifest names a layer, or a revision link a manifest.
    pub(crate) fn refers_to_bytes(&self, name: Name) -> bool {
        match name {
            Name::Layer => self.has_revision(Name::First) || self.has_revision(Name::Second),
            manifest => self.has_revision(manifest),
        }
    }

    /// Lets a request take effect; `false` if it fails.
    pub(crate) fn apply(&mut self, request: Request) -> bool {
        match request {
            Request::PutBytes(name) => self.bytes[name as usize] = Some(0),
            Request::CopyMirrored if !self.mirrored => return false,
            Request::CopyMirrored => self.bytes[Name::Layer as usize] = Some(0),
            Request::PutLayerLink => self.layer_links[Repository::Target as usize] = Some(0),
            Request::PutRevision(name) => self.revisions[name as usize] = Some(0),
            Request::PutTag(name) => self.tag = Some(name),
            Request::DeleteLayerLink(repository) => self.layer_links[repository as usize] = None,
            Request::DeleteBytes(name) => self.bytes[name as usize] = None,
            Request::DeleteRevision(name) => self.revisions[name as usize] = None,
            Request::DeleteTag => self.tag = None,
            Request::DeleteMirrored => self.mirrored = false,
            Request::PutIntent(names) => add(&mut self.intents, Notice { names, age: 0, is_leaving: false }),
            Request::PutMarker(names) => add(&mut self.markers, Notice { names, age: 0, is_leaving: false }),
        }
        true
    }

    /// Lets half a grace pass.
    pub(crate) fn tick(&mut self) {
        let ages = self.bytes.iter_mut().chain(&mut self.layer_links).chain(&mut self.revisions);
        ages.flatten().for_each(|age| *age = GRACE.min(*age + 1));
        for list in [&mut self.intents, &mut self.markers] {
            list.iter_mut().for_each(|notice| notice.age += 1);
            list.retain(|notice| notice.age < GRACE);
        }
    }
}

/// Adds to a list in order, so that equal buckets are equal values.
pub(crate) fn add<T: Ord>(list: &mut Vec<T>, item: T) {
    let at = list.partition_point(|other| *other < item);
    list.insert(at, item);
}
