//! Blobs: their size without their bytes, and their bytes from any offset, counted.

use awc::http::{
    Method, StatusCode,
    header::{ETAG, HeaderValue, IF_RANGE, RANGE},
};
use bytes::Bytes;

use super::error_body;
use super::{
    Client, Error, Remote,
    body::{Body, content_length},
    client::Response,
    headers::{content_range, names_another},
    remote::Timeouts,
    request::{UpstreamRequest, UpstreamResponse},
    turns::Turn,
};
use crate::{
    metrics::{Content, Tally},
    oci::{ByteRange, ContentRange, Digest, RepositoryName},
};

/// What tells a later request whether it is still the same representation: a strong `ETag`, of the host that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    host: String,
    etag: HeaderValue,
}

/// A blob, or a part of one, on its way.
pub struct Blob {
    start: u64,
    size: Option<u64>,
    /// Whether the response names another digest.
    is_another: bool,
    validator: Option<Validator>,
    body: Body,
    timeouts: Timeouts,
    fetched: Option<Tally>,
    _turn: Turn,
}

impl Blob {
    /// The offset of the first byte that comes: the one asked for, or 0 from an upstream that sends the whole all the same.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The length of the whole blob, if upstream said it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns whether the response names another digest than the one asked for. The bytes tell whether it is right in that.
    #[must_use]
    pub fn is_another(&self) -> bool {
        self.is_another
    }

    /// What to give to [`Client::open_blob`] when this is resumed.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        self.validator.as_ref()
    }

    /// The next bytes; `None` when all that was announced has come. Once it has failed it fails again.
    ///
    /// # Errors
    /// [`Error::Cut`] when it ended too early, [`Error::Timeout`] when nothing came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let bytes = self.body.next(self.timeouts.stall).await?;
        if let (Some(bytes), Some(fetched)) = (&bytes, &self.fetched) {
            fetched.add(bytes.len() as u64);
        }
        Ok(bytes)
    }
}

impl Client {
    /// A blob's size: from a HEAD that is not followed to a CDN, or else from a GET of its first byte.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Protocol`] when upstream does not tell, or names another
    /// digest.
    pub async fn blob_size(&self, remote: &Remote, name: &RepositoryName, digest: &Digest) -> Result<u64, Error> {
        let head = UpstreamRequest { method: Method::HEAD, follow: false, ..question(remote, name, digest) };
        match self.ask(&head).await {
            Ok(answer) if names_another(answer.response.headers(), digest) => Err(another()),
            // Some answer a HEAD with a zero where they do not know.
            Ok(answer) => match content_length(answer.response.headers()) {
                Some(size) if size > 0 || digest.matches(b"") => Ok(size),
                _ => self.size_by_get(remote, name, digest).await,
            },
            Err(Error::Denied(_) | Error::Status { .. }) => self.size_by_get(remote, name, digest).await,
            Err(error) => Err(error),
        }
    }

    async fn size_by_get(&self, remote: &Remote, name: &RepositoryName, digest: &Digest) -> Result<u64, Error> {
        let range = (RANGE, HeaderValue::from_static("bytes=0-0"));
        let get = UpstreamRequest { headers: vec![range], ..question(remote, name, digest) };
        let response = self.ask_for_any(&get).await?.response;
        if names_another(response.headers(), digest) {
            return Err(another());
        }
        let untold = || Error::Protocol("it does not tell the blob's size".into());
        match response.status() {
            // The first byte of an empty blob is beyond its end.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                content_range(response.headers()).and_then(|range| range.size).ok_or_else(untold)
            }
            StatusCode::OK => content_length(response.headers()).ok_or_else(untold),
            _ => Err(error_body::failure(response).await),
        }
    }

    /// Opens a blob at `from`, up to `until` (exclusive) if that is given.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Status`] with 416 when `from` is beyond the end,
    /// [`Error::Protocol`] when the part that comes is not the one asked for.
    pub async fn open_blob(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        digest: &Digest,
        from: u64,
        until: Option<u64>,
        validator: Option<&Validator>,
    ) -> Result<Blob, Error> {
        let turn = remote.turns().body().await?;
        let mut get = UpstreamRequest { has_turn: true, ..question(remote, name, digest) };
        if let Some(range) = range(from, until)? {
            get.headers.push((RANGE, range));
            get.host_header = validator.map(|known| (known.host.as_str(), IF_RANGE, known.etag.clone()));
        }
        let UpstreamResponse { response, url } = self.ask(&get).await?;
        let validator = url.host_str().and_then(|host| strong_etag(&response, host));
        let is_another = names_another(response.headers(), digest);
        let Extent { start, size, part } = extent(&response, from, until)?;
        let (body, fetched) = (Body::new(response)?.of_part(part), remote.fetched(Content::Blob));
        Ok(Blob { start, size, is_another, validator, body, timeouts: remote.timeouts(), fetched, _turn: turn })
    }
}

fn question<'a>(remote: &'a Remote, name: &'a RepositoryName, digest: &Digest) -> UpstreamRequest<'a> {
    UpstreamRequest {
        remote,
        name,
        content: Content::Blob,
        method: Method::GET,
        url: remote.url(name, &format!("blobs/{digest}")),
        headers: Vec::new(),
        host_header: None,
        follow: true,
        has_turn: false,
    }
}

fn another() -> Error {
    Error::Protocol("it names another digest than the one asked for".into())
}

/// The `Range` header for a part; none for the whole.
fn range(from: u64, until: Option<u64>) -> Result<Option<HeaderValue>, Error> {
    let unfit = || Error::Protocol("an empty range was asked for".into());
    let text = match until {
        None if from == 0 => return Ok(None),
        None => format!("bytes={from}-"),
        Some(until) if until > from => format!("bytes={from}-{}", until - 1),
        Some(_) => return Err(unfit()),
    };
    HeaderValue::try_from(text).map(Some).map_err(|_| unfit())
}

/// What a response carries of a blob.
struct Extent {
    /// The offset of the body's first byte.
    start: u64,
    /// Of the whole blob.
    size: Option<u64>,
    /// Of the body, where it is a part.
    part: Option<u64>,
}

/// What comes, once that is known to be what was asked for.
fn extent(response: &Response, from: u64, until: Option<u64>) -> Result<Extent, Error> {
    if response.status() == StatusCode::OK {
        return Ok(Extent { start: 0, size: content_length(response.headers()), part: None });
    }
    let wrong = |text: &str| Error::Protocol(format!("{} with {text}", response.status().as_u16()));
    let range = content_range(response.headers()).filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
    let Some(ContentRange { part: Some(ByteRange { start, end }), size }) = range else {
        return Err(wrong("no usable Content-Range"));
    };
    let wanted = [until, size].into_iter().flatten().min();
    let counted = content_length(response.headers()).is_none_or(|length| length == end - start);
    if start == from && wanted.is_none_or(|wanted| wanted == end) && counted {
        Ok(Extent { start, size, part: Some(end - start) })
    } else {
        Err(wrong("another range than the one asked for"))
    }
}

fn strong_etag(response: &Response, host: &str) -> Option<Validator> {
    let etag = response.headers().get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""))?;
    Some(Validator { host: host.to_owned(), etag: etag.clone() })
}
