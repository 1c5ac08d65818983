//! The errors of the registry.

use std::{sync::Arc, time::Duration};

use super::UnusableAnswer;
use crate::{oci::Digest, storage, upstream};

/// A failure of the registry. Clonable, since several requests may share one result. Its text is for the log; `http`
/// decides which part of it a client may read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Unknown, or not visible to this server's credentials: the two are indistinguishable on purpose.
    #[error("the manifest is unknown")]
    ManifestUnknown,
    /// As [`Error::ManifestUnknown`], for a blob.
    #[error("the blob is unknown")]
    BlobUnknown,
    /// As [`Error::ManifestUnknown`], for a repository.
    #[error("the repository is unknown")]
    NameUnknown,
    /// The request names a registry that is not configured.
    #[error("{0} is not mirrored here")]
    NotMirrored(String),
    /// The upstream answered 429.
    #[error("upstream rate limit reached: {message}")]
    TooManyRequests {
        /// The time after which to retry, if the upstream named one.
        retry_after: Option<Duration>,
        /// The upstream's own message.
        message: String,
    },
    /// The upstream cannot be reached, or answered with an error or an invalid response.
    #[error("{0}")]
    UpstreamFailed(#[source] upstream::Error),
    /// The upstream did not answer in time.
    #[error("{0}")]
    UpstreamTimedOut(#[source] upstream::Error),
    /// The upstream's answer contradicts another one, the manifest, or the stored content.
    #[error("unusable upstream response: {0}")]
    UnusableAnswer(#[from] UnusableAnswer),
    /// The upstream does not give the blob's size, and the blob cannot be stored. Readers need one or the other.
    #[error("upstream does not give the blob's size, and the blob cannot be stored: {0}")]
    SizeUnknown(#[source] Arc<Error>),
    /// The limit of concurrent upstream requests is reached: the upstream was not asked.
    #[error("limit of concurrent upstream requests reached; the request was not sent")]
    ConcurrencyLimit,
    /// The manifest is cached, one of its blobs is not, and the upstream cannot be reached.
    #[error("blob {missing} of this image is not cached, and its upstream cannot be reached")]
    Incomplete {
        /// The first missing blob.
        missing: Digest,
    },
    /// The configuration of this server forbids it.
    #[error("denied: {0}")]
    Denied(String),
    /// The tag must not name another manifest, nor be deleted (`immutable`).
    #[error("{0}")]
    ImmutableTag(String),
    /// Nothing is here of what a command or a request names.
    #[error("nothing of {0} is here")]
    NothingHere(String),
    /// The upstream cannot be asked about a name, and `proxy.unproven` is `refuse`.
    #[error(
        "the upstream cannot be asked whether it has a repository of this name, and proxy.unproven refuses the push until it can"
    )]
    Unproven {
        /// The time after which to retry.
        retry_after: Duration,
    },
    /// Not implemented, or disabled by the configuration.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// There is no such upload session.
    #[error("the upload session is unknown")]
    UploadUnknown,
    /// The chunk does not begin at the end of the session, or another request writes to it.
    #[error("the session stands at byte {received}, or another request writes to it: go on from there")]
    UploadRange {
        /// Bytes received so far.
        received: u64,
    },
    /// The content does not match the digest given by the client.
    #[error("the content hashes to {found}, not to {given}")]
    DigestInvalid {
        /// The digest that the client named.
        given: Box<Digest>,
        /// The digest of the content.
        found: Box<Digest>,
    },
    /// The content is not a valid manifest.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The manifest names blobs or manifests that are not in its repository.
    #[error("the manifest names {} blobs or manifests that are not in this repository", .0.len())]
    ManifestBlobUnknown(Vec<Digest>),
    /// The bytes from the upstream do not match the digest.
    #[error("upstream response does not match digest {expected}")]
    Mismatch {
        /// The expected digest.
        expected: Digest,
    },
    /// The disk or the quota is full.
    #[error(transparent)]
    InsufficientSpace(#[from] storage::InsufficientSpace),
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(#[source] Arc<storage::Error>),
    /// The index failed and is not rebuilt yet, and the operation needs it.
    #[error("there is no index at the moment, most likely for want of space: the server's log has the reason")]
    NoIndex,
    /// The same operation is under way.
    #[error("this is under way already: wait for it to end")]
    UnderWay,
    /// The task that did the work panicked, which is a bug.
    #[error("the work panicked, which is a bug")]
    Panicked,
    /// The caller's callback asked to stop.
    #[error("the work was cancelled")]
    Cancelled,
    /// The server is stopping, and changes nothing any more.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No client read the fill for ten minutes.
    #[error("no client has read it for ten minutes")]
    Unread,
    /// Other work changed what this one needed, at every attempt.
    #[error("concurrent work on the same blob interfered at every attempt")]
    Contended,
}

impl Error {
    /// Returns whether the upstream failed or answered 429, so that nothing is known about the resource.
    pub(super) fn is_upstream(&self) -> bool {
        matches!(
            self,
            Self::UpstreamFailed(_)
                | Self::UpstreamTimedOut(_)
                | Self::UnusableAnswer(_)
                | Self::SizeUnknown(_)
                | Self::TooManyRequests { .. }
        )
    }
}

/// The kind of a requested resource, which selects the "unknown" error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Manifest,
    Blob,
    Name,
}

impl Resource {
    pub(super) fn unknown(self) -> Error {
        match self {
            Self::Manifest => Error::ManifestUnknown,
            Self::Blob => Error::BlobUnknown,
            Self::Name => Error::NameUnknown,
        }
    }

    /// Converts a failure of an upstream for a resource that is not cached (the table of law 7 of ARCHITECTURE.md).
    pub(super) fn failed(self, error: &upstream::Error) -> Error {
        match error {
            upstream::Error::NotFound | upstream::Error::Denied(_) | upstream::Error::Login(_) => self.unknown(),
            // The blob is shorter than it was.
            upstream::Error::Status { code: 416, .. } => self.unknown(),
            upstream::Error::RateLimited { retry_after, message } => {
                Error::TooManyRequests { retry_after: *retry_after, message: message.clone() }
            }
            upstream::Error::ConcurrencyLimit => Error::ConcurrencyLimit,
            upstream::Error::Timeout { .. } => Error::UpstreamTimedOut(error.clone()),
            _ => Error::UpstreamFailed(error.clone()),
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// Treats cached content that cannot be read as not cached, so that the upstream is asked: a mirror need not refuse
/// content that it can fetch.
pub(super) fn cached_or_unknown<T>(looked: Result<Option<T>, Error>) -> Option<T> {
    looked.unwrap_or_else(|error| {
        tracing::warn!(%error, "cached content could not be read and is ignored");
        None
    })
}
