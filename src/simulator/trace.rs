//! A trace in memory: each object once, and the requests as numbers of objects. Ten million requests are 40 MB.

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An image manifest or index: its GET is what an upstream counts.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer, or anything else.
    Blob,
}

impl Kind {
    /// The word for it in a CSV.
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

/// One object: whatever the repositories it was asked for in, its bytes are kept once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Length in bytes.
    pub(super) size: u64,
    pub(super) kind: Kind,
}

/// Requests in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub(super) objects: Vec<Object>,
    pub(super) requests: Vec<Id>,
    pub(super) repositories: usize,
    /// Seconds from the earliest request to the latest.
    pub(super) seconds: f64,
}

impl Trace {
    /// How many requests there are.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// How many different objects they ask for.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    /// In how many repositories.
    #[must_use]
    pub fn repositories(&self) -> usize {
        self.repositories
    }

    /// Seconds from the earliest request to the latest.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The bytes of all objects, each once: a cache of this size would hold them all.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.objects.iter().fold(0, |sum: u64, object| sum.saturating_add(object.size))
    }
}
