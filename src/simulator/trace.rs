//! A trace in memory: each object once, and the requests as numbers of objects. Ten million requests take 40 MB.

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// An image manifest or index: upstreams count GETs of it.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer, or any other blob.
    Blob,
}

impl ObjectKind {
    /// The name in the CSV.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Blob => "blob",
        }
    }
}

/// An object's number in its trace.
pub(super) type Id = u32;

/// An object. Its bytes are stored once, in however many repositories it was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Length in bytes.
    pub(super) size: u64,
    pub(super) kind: ObjectKind,
}

/// Requests in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub(super) objects: Vec<Object>,
    pub(super) requests: Vec<Id>,
    pub(super) repositories: usize,
    /// Seconds from the earliest request to the latest.
    pub(super) seconds: f64,
}

impl Trace {
    /// The number of requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The number of distinct objects.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    /// The number of repositories.
    #[must_use]
    pub fn repositories(&self) -> usize {
        self.repositories
    }

    /// Seconds from the earliest request to the latest.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The bytes of all objects, each once: the size of a cache that holds them all.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.objects.iter().fold(0, |sum: u64, object| sum.saturating_add(object.size))
    }
}
