//! The progress of a fill, as its readers see it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fetch::Events;
use crate::{oci::Hasher, registry::Error};

/// The progress of a fill.
#[derive(Clone, Debug)]
pub(in crate::registry) enum FillProgress {
    /// The upstream has not answered yet.
    Connecting,
    /// Bytes are arriving.
    Filling {
        /// Bytes of the whole blob.
        size: u64,
        /// Bytes in the staged file.
        written: u64,
    },
    /// All bytes are in the staged file and match the digest.
    Verified {
        /// Bytes of the whole blob.
        size: u64,
    },
    /// It failed. Bytes written before remain readable.
    Failed(FillFailure),
}

/// The ways in which a fill can fail.
#[derive(Clone, Debug)]
pub(in crate::registry) enum FillFailure {
    /// It failed for all readers.
    Error(Error),
    /// The disk is full: each reader goes on alone from here.
    NoSpace(Arc<Handover>),
    /// The blob had another established fill by the time that the upstream answered. Authorized readers join that one.
    Superseded(Shown),
}

/// The authorization of its repository that a superseded fill has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Shown {
    /// The upstream has a blob of this size under the digest. It authorizes for bytes of the same size.
    Size(u64),
    /// The repository was authorized before the fill began.
    Before,
    /// None: the answer named another digest, or had no size to compare.
    Nothing,
}

/// The state from which a reader goes on after a fill ran out of space.
#[derive(Debug)]
pub(in crate::registry) struct Handover {
    /// Bytes of the whole blob.
    pub(in crate::registry) size: u64,
    /// Bytes in the staged file.
    pub(in crate::registry) written: u64,
    /// Has consumed exactly these bytes.
    pub(in crate::registry) hasher: Hasher,
    /// A connection that is already sending the rest, for the first reader that needs all of it.
    pub(in crate::registry) rest: Mutex<Option<Events>>,
}

impl FillProgress {
    /// Returns the offset up to which readers may read.
    pub(in crate::registry) fn visible(&self) -> u64 {
        match self {
            Self::Connecting | Self::Failed(FillFailure::Error(_) | FillFailure::Superseded(_)) => 0,
            Self::Filling { size, written } => (*written).min(size.saturating_sub(1)),
            Self::Verified { size } => *size,
            Self::Failed(FillFailure::NoSpace(handover)) => handover.written,
        }
    }
}

impl From<Error> for FillFailure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
