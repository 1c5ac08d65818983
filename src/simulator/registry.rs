//! The registries whose layer sizes are imitated, and a request of a synthetic trace.

use super::trace::Id;

/// The registry whose layer sizes are imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImitatedRegistry {
    /// IBM's registries: 65 % of layers under 1 MB, 80 % under 10 MB, and a few very large ones.
    Ibm,
    /// Docker Hub: a median of 4 MB.
    Hub,
}

impl ImitatedRegistry {
    /// The median of layer sizes in bytes, and the standard deviation of their natural logarithm.
    pub(super) fn layers(self) -> (f64, f64) {
        match self {
            Self::Ibm => (143_000.0, 5.05),
            Self::Hub => (4_000_000.0, 2.15),
        }
    }

    /// A one-word name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ibm => "ibm",
            Self::Hub => "hub",
        }
    }
}

/// One request of a synthetic trace.
pub(super) struct TraceRequest {
    /// Seconds since the trace began.
    pub(super) time: f64,
    pub(super) repository: TraceRepository,
    pub(super) object: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum TraceRepository {
    Image(usize),
    Builder(usize),
}
