//! Reads the bodies of upstream responses: detects incomplete messages (RFC 9112, section 8), applies the stall timeout
//! and a size limit, and drains short bodies that are not needed, so that their connection can be reused.

use std::{io, pin::Pin, task::Poll, time::Duration};

use awc::{
    error::PayloadError,
    http::{
        StatusCode, Version,
        header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::Stream as _;
use tokio::time::timeout;

use super::{Error, Phase, client::Response, stream::watch_end};

/// The most that is read of an unneeded body, to keep its connection usable.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
pub(super) const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// The body of a response to a GET.
pub(super) struct ResponseBody {
    response: Response,
    /// `Content-Length`, or the length of the range that comes.
    expected: Option<u64>,
    /// The last chunk marks the end: an end of the stream before it is a cut.
    chunked: bool,
    got: u64,
    /// The first failure, which every later call repeats.
    failure: Option<Error>,
}

impl ResponseBody {
    /// Takes the body of a response and its framing.
    ///
    /// # Errors
    /// [`Error::Protocol`] for an HTTP/1.1 response that has no length and keeps its connection: `awc` reads it as
    /// empty.
    pub(super) fn new(response: Response) -> Result<Self, Error> {
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        let expected = if chunked { None } else { content_length(response.headers()) };
        let bare = expected.is_none() && !chunked && response.version() == Version::HTTP_11;
        if bare && response.status() != StatusCode::NO_CONTENT {
            return Err(Error::Protocol("a response without a length".into()));
        }
        Ok(Self { response, expected, chunked, got: 0, failure: None })
    }

    /// Sets the length of the range that the body carries, if the response has no other framing.
    pub(super) fn of_part(mut self, length: Option<u64>) -> Self {
        self.expected = self.expected.or(length);
        self
    }

    /// Returns the next bytes; `None` after the announced end.
    pub(super) async fn next(&mut self, stall: Duration) -> Result<Option<Bytes>, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let late = |_| Err(Error::Timeout { phase: Phase::Stall });
        let outcome = timeout(stall, self.step()).await.unwrap_or_else(late);
        self.failure = outcome.as_ref().err().cloned();
        outcome
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        match self.poll().await {
            (Some(Ok(bytes)), _) => {
                self.got += bytes.len() as u64;
                Ok(Some(bytes))
            }
            (Some(Err(error)), _) if self.ends_with_connection() && is_bare_end(&error) => Ok(None),
            (None, ended) if !(self.chunked && ended) && self.expected.is_none_or(|all| all == self.got) => Ok(None),
            _ => Err(Error::Cut { got: self.got, expected: self.expected }),
        }
    }

    fn ends_with_connection(&self) -> bool {
        !self.chunked && self.expected.is_none()
    }

    async fn poll(&mut self) -> (Option<Result<Bytes, PayloadError>>, bool) {
        std::future::poll_fn(|cx| {
            let (polled, ended) = watch_end(|| Pin::new(&mut self.response).poll_next(cx));
            match polled {
                Poll::Ready(item) => Poll::Ready((item, ended)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Reads the whole body, if it is no longer than `limit`.
    pub(super) async fn collect(mut self, limit: u64, stall: Duration) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        if self.expected.is_some_and(|all| all > limit) {
            return Err(Error::TooLarge { limit });
        }
        while let Some(bytes) = self.next(stall).await? {
            if self.got > limit {
                return Err(Error::TooLarge { limit });
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }
}

/// Returns whether TLS ended without a close_notify, as with many servers: the content shows whether it was cut.
fn is_bare_end(error: &PayloadError) -> bool {
    match error {
        PayloadError::Io(error) | PayloadError::Incomplete(Some(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

/// Reads as much of an error's or a redirect's body as comes soon, to its end if that is near: the connection can be
/// used again then.
pub(super) async fn excerpt(response: Response) -> Bytes {
    let Ok(mut body) = ResponseBody::new(response) else { return Bytes::new() };
    let mut start = BytesMut::new();
    let read = async {
        while let Ok(Some(bytes)) = body.next(DISCARD_TIMEOUT).await {
            start.extend_from_slice(&bytes);
            if body.got > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    // A time-out is treated like a cut: the bytes that came are used.
    let _late = timeout(DISCARD_TIMEOUT, read).await;
    start.freeze()
}

/// Returns `Content-Length`, if it is a single number.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
