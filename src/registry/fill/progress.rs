//! How far a fill has come, as its readers see it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::fetch::Events;
use crate::{oci::Hasher, registry::Error};

/// How far a fill has come.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Progress {
    /// Nothing is known yet.
    Connecting,
    /// Bytes are coming.
    Filling {
        /// Of the whole blob.
        size: u64,
        /// Bytes in the staged file, from the start.
        written: u64,
    },
    /// All bytes are in the staged file and hash to the digest.
    Verified {
        /// Of the whole blob.
        size: u64,
    },
    /// It ended otherwise. What was written before stays readable.
    Failed(Failure),
}

/// How a fill can fail.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Failure {
    /// For everybody.
    Error(Error),
    /// The disk took no more: each reader goes on alone from here.
    NoSpace(Arc<Handover>),
    /// Another one was the blob's fill by the time this one's upstream had answered: that one is to be followed, by
    /// whoever has a right to it.
    Superseded(Shown),
}

/// What a fill that gave way shows of its repository's right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Shown {
    /// Its upstream has a blob of this size under the digest: a right to the bytes, if they are as many.
    Size(u64),
    /// The right was shown before it began.
    Before,
    /// Nothing: the upstream's answer named another digest, or no size to hold against the blob's.
    Nothing,
}

/// Where a reader takes over from a fill that ran out of space.
#[derive(Debug)]
pub(in crate::registry) struct Handover {
    /// Of the whole blob.
    pub(in crate::registry) size: u64,
    /// Bytes in the staged file.
    pub(in crate::registry) written: u64,
    /// Has seen exactly these bytes.
    pub(in crate::registry) hasher: Hasher,
    /// The bytes after these, where they are on their way already: for the first reader that wants them to the end.
    pub(in crate::registry) rest: Mutex<Option<Events>>,
}

impl Progress {
    /// Up to which offset readers may read.
    pub(in crate::registry) fn visible(&self) -> u64 {
        match self {
            Self::Connecting | Self::Failed(Failure::Error(_) | Failure::Superseded(_)) => 0,
            Self::Filling { size, written } => (*written).min(size.saturating_sub(1)),
            Self::Verified { size } => *size,
            Self::Failed(Failure::NoSpace(handover)) => handover.written,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
