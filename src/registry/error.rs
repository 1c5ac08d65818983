//! Why the registry could not do what it was asked to.

use std::{sync::Arc, time::Duration};

use crate::{oci::Digest, storage, upstream};

/// A failure of this floor. Cloned to everyone who waited for the same thing. Its text goes to the log; what a client
/// may read of it is decided where it becomes an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Neither here nor upstream, or not for this server's eyes: the two look the same on purpose.
    #[error("the manifest is unknown")]
    ManifestUnknown,
    /// As [`Error::ManifestUnknown`], for a blob.
    #[error("the blob is unknown")]
    BlobUnknown,
    /// As [`Error::ManifestUnknown`], for a repository.
    #[error("the repository is unknown")]
    NameUnknown,
    /// The request names a registry that is on no list of this one's.
    #[error("{0} is not mirrored here")]
    NotMirrored(String),
    /// The upstream asks for patience.
    #[error("the upstream allows no more requests now: {message}")]
    TooManyRequests {
        /// How long, where it said.
        retry_after: Option<Duration>,
        /// Its own words.
        message: String,
    },
    /// The upstream answered, but nothing that helps.
    #[error("the upstream failed: {0}")]
    BadGateway(String),
    /// The upstream did not answer in time.
    #[error("the upstream did not answer in time: {0}")]
    GatewayTimeout(String),
    /// As many upstream requests are under way as there may be.
    #[error("{0}")]
    Crowded(String),
    /// The manifest is here, part of what it names is not, and the upstream cannot be reached.
    #[error("blob {missing} of this image is not cached, and its upstream cannot be reached")]
    Incomplete {
        /// The first blob that is missing.
        missing: Digest,
    },
    /// The rules of this server say no.
    #[error("denied: {0}")]
    Denied(String),
    /// The upstream cannot be asked whether a name is its own, and the operator wants its word.
    #[error(
        "the upstream cannot be asked whether it has a repository of this name, and proxy.unproven refuses the push until it can"
    )]
    Unproven {
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// This server does not do that, or is configured not to.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// No such upload session.
    #[error("the upload session is unknown")]
    UploadUnknown,
    /// The chunk does not begin where the session stands, or another request is writing to it.
    #[error("the session stands at byte {received}, or another request writes to it: go on from there")]
    UploadRange {
        /// Bytes received so far.
        received: u64,
    },
    /// What was sent is not what it was said to be.
    #[error("the content hashes to {found}, not to {given}")]
    DigestInvalid {
        /// What the client named.
        given: Box<Digest>,
        /// What it sent.
        found: Box<Digest>,
    },
    /// What was sent is no manifest that can be taken.
    #[error("{0}")]
    ManifestInvalid(String),
    /// A manifest names what is not in its repository.
    #[error("the manifest names {} blobs or manifests that are not in this repository", .0.len())]
    ManifestBlobUnknown(Vec<Digest>),
    /// The bytes that came were not what their digest says.
    #[error("the upstream's bytes do not hash to {expected}")]
    Mismatch {
        /// What they should have hashed to.
        expected: Digest,
    },
    /// The disk has no room.
    #[error(transparent)]
    InsufficientSpace(#[from] storage::InsufficientSpace),
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(#[source] Arc<storage::Error>),
    /// What has to be looked up is not known: the index failed, and there is none yet.
    #[error("there is no index at the moment, most likely for want of space: the server's log has the reason")]
    NoIndex,
    /// The same is being done already.
    #[error("this is under way already: wait for it to end")]
    UnderWay,
    /// A task died, which is a bug; or whoever wanted it wants no more.
    #[error("the work was abandoned")]
    Abandoned,
}

impl Error {
    /// Whether the upstream failed to answer, or asks for patience: nothing is said of what was asked for.
    pub(super) fn is_upstream(&self) -> bool {
        matches!(self, Self::BadGateway(_) | Self::GatewayTimeout(_) | Self::TooManyRequests { .. })
    }
}

/// What was asked for: decides which "unknown" a refusal becomes.
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

    /// Law 7's right-hand column: what an upstream's failure is where nothing is cached.
    pub(super) fn failed(self, error: &upstream::Error) -> Error {
        match error {
            upstream::Error::NotFound | upstream::Error::Denied(_) | upstream::Error::Login(_) => self.unknown(),
            // It has less of it than was there before.
            upstream::Error::Status { code: 416, .. } => self.unknown(),
            upstream::Error::TooMany { retry_after, message } => {
                Error::TooManyRequests { retry_after: *retry_after, message: message.clone() }
            }
            upstream::Error::Crowded => Error::Crowded(error.to_string()),
            upstream::Error::Timeout { .. } => Error::GatewayTimeout(error.to_string()),
            _ => Error::BadGateway(error.to_string()),
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// What a look at what is cached found. Where that is not known, the upstream is
/// asked, as for what is not cached: what a mirror can fetch it need not refuse.
pub(super) fn cached_or_unknown<T>(looked: Result<Option<T>, Error>) -> Option<T> {
    looked.unwrap_or_else(|error| {
        tracing::warn!("what is cached is passed over: {error}");
        None
    })
}
