//! Answers of an upstream that contradict each other, the manifest, or the stored content.

use std::sync::Arc;

use crate::oci::{Digest, InvalidManifest, Reference, Repository};

/// The reason that an upstream's answer cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UnusableAnswer {
    /// Two answers gave different sizes of one blob.
    #[error("the blob's size changed between two answers")]
    SizeChanged,
    /// The blob has more bytes than its size.
    #[error("more bytes than announced")]
    TooLong,
    /// The blob has fewer bytes than its size.
    #[error("the blob ended early")]
    EndedEarly,
    /// The upstream answered a request for a range with another one.
    #[error("the upstream knows no ranges")]
    NoRanges,
    /// The answer names another digest, or no size, so it does not confirm that the repository has the blob.
    #[error("the answer of {repository}'s upstream does not show that it has {digest}")]
    Unconfirmed {
        /// The mirrored repository.
        repository: Box<Repository>,
        /// The requested digest.
        digest: Box<Digest>,
    },
    /// The blob has another size than its manifest or an earlier answer says.
    #[error("{digest} has {size} bytes, where the manifest or the upstream of {repository} says {expected}")]
    UnexpectedSize {
        /// The mirrored repository.
        repository: Box<Repository>,
        /// The requested digest.
        digest: Box<Digest>,
        /// The size of the received blob in bytes.
        size: u64,
        /// The size in bytes by the manifest, or by an earlier answer.
        expected: u64,
    },
    /// The blob has another size upstream than here.
    #[error("{digest} has {upstream} bytes upstream, and {stored} here")]
    UnlikeStored {
        /// The requested digest.
        digest: Box<Digest>,
        /// The size in bytes by the upstream.
        upstream: u64,
        /// The size in bytes of the stored blob.
        stored: u64,
    },
    /// The bytes under a manifest's name are no valid manifest.
    #[error("{reference} of {repository}: {error}")]
    Manifest {
        /// The mirrored repository.
        repository: Box<Repository>,
        /// The requested tag or digest.
        reference: Box<Reference>,
        /// The fault of the document.
        error: Arc<InvalidManifest>,
    },
}
