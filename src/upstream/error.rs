//! Why an upstream gave no answer, in the terms the rules decide by.

use std::{error::Error as _, fmt, io, time::Duration};

use awc::error::{ConnectError, SendRequestError};

use crate::oci::Digest;

/// What went wrong with a request to an upstream. No variant's text holds a token, a password or a query string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 404, or an error body whose code says that the thing is unknown.
    #[error("upstream does not have it")]
    NotFound,
    /// 401 or 403 from the upstream after a fresh token, or the token service's refusal of one.
    #[error("upstream denied access: {0}")]
    Denied(String),
    /// 401 from the token service to the configured user and password: it says nothing about what was asked for.
    #[error("the token service {0} refuses proxy.username and proxy.password")]
    Login(String),
    /// 429, from the upstream or from its token service.
    #[error("upstream has had too many requests: {message}")]
    TooMany {
        /// What its `Retry-After` said.
        retry_after: Option<Duration>,
        /// What it said in words, shortened.
        message: String,
    },
    /// Another 4xx or 5xx; a 401 or 403 too, when a redirect's target says it.
    #[error("upstream answered {code}{message}")]
    Status {
        /// The status code.
        code: u16,
        /// Empty, or a colon and what the error body said, shortened.
        message: String,
    },
    /// It took too long.
    #[error("upstream took too long to {phase}")]
    Timeout {
        /// What it was that took too long.
        phase: Phase,
    },
    /// DNS, TCP, TLS or the proxy failed, or the connection ended before an answer came; tried twice.
    #[error("upstream cannot be reached: {0}")]
    Unreachable(String),
    /// As many requests are under way as there may be: it was not asked.
    #[error("too many requests to upstreams are under way here; this one was not made")]
    Crowded,
    /// The body ended before its announced length, or before its last chunk.
    #[error("upstream cut the response off after {got} bytes{}", of(*expected))]
    Cut {
        /// How many bytes came.
        got: u64,
        /// How many were announced, if that was.
        expected: Option<u64>,
    },
    /// A manifest's bytes do not hash to what was asked for or announced.
    #[error("upstream sent bytes that do not hash to {expected}")]
    DigestMismatch {
        /// What was asked for or announced.
        expected: Digest,
    },
    /// A document that must fit in memory is larger than it may be.
    #[error("upstream's document is larger than {limit} bytes")]
    TooLarge {
        /// The most that is accepted.
        limit: u64,
    },
    /// An answer that HTTP or the distribution spec does not allow.
    #[error("upstream answered against the protocol: {0}")]
    Protocol(String),
    /// A redirect that is not followed.
    #[error("upstream redirected where it may not: {0}")]
    Redirect(String),
    /// The token service's answer was of no use.
    #[error("no token: {0}")]
    Token(String),
    /// A setting of this room that cannot work.
    #[error("{0}")]
    Setting(String),
    /// The pool's threads could not be started, or the job ended without a result because it panicked.
    #[error("the upstream job did not finish: {0}")]
    Job(String),
}

/// What a timeout was waiting for.
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
            Self::Connect => "accept the connection",
            Self::Head => "answer",
            Self::Stall => "go on with its response",
            Self::Token => "give out a token",
        })
    }
}

impl Error {
    /// Whether the upstream was not there at all, so that asking it again at once is of no use.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Timeout { phase } => *phase != Phase::Stall,
            _ => false,
        }
    }

    /// Carries this error through a foreign error type; [`sent`] takes it out again.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// What `awc` says when no response came.
pub(super) fn sent(error: SendRequestError) -> Error {
    match error {
        SendRequestError::Timeout => Error::Timeout { phase: Phase::Head },
        SendRequestError::Connect(ConnectError::Timeout) => Error::Timeout { phase: Phase::Connect },
        SendRequestError::Connect(ConnectError::Io(error)) => carried(&error),
        SendRequestError::Connect(ConnectError::Disconnected) => closed(),
        SendRequestError::Connect(error) => Error::Unreachable(error.to_string()),
        SendRequestError::Send(error) => Error::Unreachable(error.kind().to_string()),
        // A parse error with a cause is the connection's end or reset in the midst of the head.
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
    Error::Unreachable("it closed the connection without an answer".into())
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |all| format!(" of {all}"))
}
