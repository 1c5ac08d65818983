//! Errors of upstream requests, one variant for each reaction of the registry; also converts the errors of `awc`.

use std::{error::Error as _, fmt, io, time::Duration};

use awc::error::{ConnectError, SendRequestError};

use crate::oci::Digest;

/// A failed request to an upstream. No variant's text contains a token, a password or a query string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 404, or an error body whose code says that the thing is unknown.
    #[error("not found upstream")]
    NotFound,
    /// 401 or 403 from the upstream in spite of a fresh token, or the token service denied one.
    #[error("upstream denied access: {0}")]
    Denied(String),
    /// 401 for the configured account, from the token service or to Basic authentication. It says nothing about the
    /// requested content.
    #[error("{0} rejected the account that is configured for it: correct its user name and password")]
    Login(String),
    /// 429, from the upstream or from its token service.
    #[error("upstream rate limit reached: {message}")]
    RateLimited {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
        /// The upstream's message, shortened.
        message: String,
    },
    /// Another 4xx or 5xx; also 401 or 403 from the target of a redirect.
    #[error("upstream answered {code}{message}")]
    Status {
        /// The status code.
        code: u16,
        /// Empty, or a colon and the message of the error body, shortened.
        message: String,
    },
    /// A timeout expired.
    #[error("upstream timed out while {phase}")]
    Timeout {
        /// The phase that took too long.
        phase: Phase,
    },
    /// DNS, TCP, TLS or the proxy failed, or the connection closed before a response; tried twice.
    #[error("upstream unreachable: {0}")]
    Unreachable(String),
    /// The limit of concurrent requests is reached: the upstream was not asked.
    #[error("limit of concurrent upstream requests reached; the request was not sent")]
    ConcurrencyLimit,
    /// The body ended before its announced length, or before its last chunk.
    #[error("upstream response truncated at {got} bytes{}", of(*expected))]
    Cut {
        /// The number of bytes that came.
        got: u64,
        /// The number of bytes that were announced, if any.
        expected: Option<u64>,
    },
    /// A manifest's bytes do not have the requested or announced digest.
    #[error("upstream response does not match digest {expected}")]
    DigestMismatch {
        /// The requested or announced digest.
        expected: Digest,
    },
    /// A document that must fit in memory is too large.
    #[error("upstream response exceeds {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A response that violates HTTP or the distribution spec.
    #[error("invalid upstream response: {0}")]
    Protocol(String),
    /// A redirect that is not followed.
    #[error("upstream redirect refused: {0}")]
    Redirect(String),
    /// The token service's response contains no usable token.
    #[error("no usable token: {0}")]
    Token(String),
    /// A setting of this module is invalid.
    #[error("{0}")]
    Setting(String),
    /// The client threads could not be started, or the job panicked.
    #[error("upstream request aborted: {0}")]
    Job(String),
}

/// The phase of a request that timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// DNS, TCP and TLS.
    Connect,
    /// The response's head, redirects included.
    Head,
    /// The next bytes of a body.
    Stall,
    /// The token service.
    Token,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Head => "waiting for the response",
            Self::Stall => "reading the response",
            Self::Token => "requesting a token",
        })
    }
}

impl Error {
    /// Returns whether the failure opens the circuit breaker: no connection, or no response head within the timeouts.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Timeout { phase } => *phase != Phase::Stall,
            _ => false,
        }
    }

    /// Wraps this error for a foreign error type; [`sent`] unwraps it.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// Converts `awc`'s error if no response came.
pub(super) fn sent(error: SendRequestError) -> Error {
    match error {
        SendRequestError::Timeout => Error::Timeout { phase: Phase::Head },
        SendRequestError::Connect(ConnectError::Timeout) => Error::Timeout { phase: Phase::Connect },
        SendRequestError::Connect(ConnectError::Io(error)) => carried(&error),
        SendRequestError::Connect(ConnectError::Disconnected) => closed(),
        SendRequestError::Connect(error) => Error::Unreachable(error.to_string()),
        SendRequestError::Send(error) => Error::Unreachable(error.kind().to_string()),
        // A parse error with a source means that the connection ended within the head.
        SendRequestError::Response(error) if error.source().is_some() => closed(),
        SendRequestError::Response(error) => Error::Protocol(error.to_string()),
        _ => Error::Protocol("the request could not be made".into()),
    }
}

fn carried(error: &io::Error) -> Error {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    ours.cloned().unwrap_or_else(|| Error::Unreachable(error.to_string()))
}

fn closed() -> Error {
    Error::Unreachable("connection closed before a response".into())
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |all| format!(" of {all}"))
}
