//! Blob requests: the size by a HEAD, and the bytes from any offset, checked for completeness.

use awc::http::{
    Method, StatusCode,
    header::{ETAG, HeaderValue, IF_RANGE, RANGE},
};
use bytes::Bytes;

use super::{
    Client, Error, Remote,
    body::{ResponseBody, content_length},
    client::Response,
    headers::{content_range, names_another},
    permits::RequestPermit,
    remote::Timeouts,
    request::{UpstreamRequest, UpstreamResponse},
};
use crate::{
    metrics::{Content, LabelledCounter},
    oci::{ByteRange, ContentRange, Digest, RepositoryName},
};

/// Identifies a representation for a later `If-Range`: a strong `ETag`, and the host that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    host: String,
    etag: HeaderValue,
}

/// The response to a blob request, or to a range of one.
pub struct BlobResponse {
    start: u64,
    size: Option<u64>,
    /// Set if the response names another digest.
    is_another: bool,
    validator: Option<Validator>,
    body: ResponseBody,
    timeouts: Timeouts,
    fetched: Option<LabelledCounter>,
    _permit: RequestPermit,
}

impl BlobResponse {
    /// Returns the offset of the first byte: the requested one, or 0 if the upstream ignored the range.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the size of the whole blob, if the upstream sent it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns whether the response names another digest than the requested one. Only the bytes prove it right or
    /// wrong.
    #[must_use]
    pub fn is_another(&self) -> bool {
        self.is_another
    }

    /// Returns the validator for [`Client::open_blob`], to resume this download.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        self.validator.as_ref()
    }

    /// Returns the next bytes; `None` at the announced end. After a failure it fails again.
    ///
    /// # Errors
    /// [`Error::Cut`] if the body ended too early, [`Error::Timeout`] if no byte came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let bytes = self.body.next(self.timeouts.stall).await?;
        if let (Some(bytes), Some(fetched)) = (&bytes, &self.fetched) {
            fetched.add(bytes.len() as u64);
        }
        Ok(bytes)
    }
}

impl Client {
    /// Returns a blob's size, from a HEAD whose redirect is not followed, or else from a GET of the first byte.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Protocol`] if the upstream sends no size, or names
    /// another digest.
    pub async fn blob_size(&self, remote: &Remote, name: &RepositoryName, digest: &Digest) -> Result<u64, Error> {
        let head = UpstreamRequest { method: Method::HEAD, follow: false, ..blob_request(remote, name, digest) };
        match self.ask(&head).await {
            Ok(answer) if names_another(answer.response.headers(), digest) => Err(another()),
            // Some registries answer a HEAD with a length of 0 if they do not know the size.
            Ok(answer) => match content_length(answer.response.headers()) {
                Some(size) if size > 0 || digest.matches(b"") => Ok(size),
                _ => self.size_by_get(remote, name, digest).await,
            },
            Err(Error::Denied(_) | Error::Login(_) | Error::Status { .. }) => {
                self.size_by_get(remote, name, digest).await
            }
            Err(error) => Err(error),
        }
    }

    async fn size_by_get(&self, remote: &Remote, name: &RepositoryName, digest: &Digest) -> Result<u64, Error> {
        let range = (RANGE, HeaderValue::from_static("bytes=0-0"));
        let get = UpstreamRequest { headers: vec![range], ..blob_request(remote, name, digest) };
        let answer = self.ask_for_any(&get).await?;
        let response = &answer.response;
        if names_another(response.headers(), digest) {
            return Err(another());
        }
        let no_size = || Error::Protocol("the blob's size is missing".into());
        match response.status() {
            // In an empty blob the first byte is out of range.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                content_range(response.headers()).and_then(|range| range.size).ok_or_else(no_size)
            }
            StatusCode::OK => content_length(response.headers()).ok_or_else(no_size),
            _ => Err(answer.failure(remote).await),
        }
    }

    /// Opens a blob at `from`, up to `until` (exclusive) if given.
    ///
    /// # Errors
    /// Any of [`Error`]'s but [`Error::DigestMismatch`]; [`Error::Status`] with 416 if `from` is beyond the end,
    /// [`Error::Protocol`] if another range comes than the requested one.
    pub async fn open_blob(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        digest: &Digest,
        from: u64,
        until: Option<u64>,
        validator: Option<&Validator>,
    ) -> Result<BlobResponse, Error> {
        let permit = remote.permits().body().await?;
        let mut get = UpstreamRequest { has_permit: true, ..blob_request(remote, name, digest) };
        if let Some(range) = range(from, until)? {
            get.headers.push((RANGE, range));
            get.host_header = validator.map(|known| (known.host.as_str(), IF_RANGE, known.etag.clone()));
        }
        let UpstreamResponse { response, url } = self.ask(&get).await?;
        let validator = url.host_str().and_then(|host| strong_etag(&response, host));
        let is_another = names_another(response.headers(), digest);
        let Extent { start, size, part } = extent(&response, from, until)?;
        let (body, fetched) = (ResponseBody::new(response)?.of_part(part), remote.fetched(Content::Blob));
        Ok(BlobResponse {
            start,
            size,
            is_another,
            validator,
            body,
            timeouts: remote.timeouts(),
            fetched,
            _permit: permit,
        })
    }
}

fn blob_request<'a>(remote: &'a Remote, name: &'a RepositoryName, digest: &Digest) -> UpstreamRequest<'a> {
    UpstreamRequest {
        remote,
        name,
        content: Content::Blob,
        method: Method::GET,
        url: remote.url(name, &format!("blobs/{digest}")),
        headers: Vec::new(),
        host_header: None,
        follow: true,
        has_permit: false,
    }
}

fn another() -> Error {
    Error::Protocol("the digest is not the requested one".into())
}

/// Returns the `Range` header for a part; `None` for the whole blob.
fn range(from: u64, until: Option<u64>) -> Result<Option<HeaderValue>, Error> {
    let unfit = || Error::Protocol("the requested range is empty".into());
    let text = match until {
        None if from == 0 => return Ok(None),
        None => format!("bytes={from}-"),
        Some(until) if until > from => format!("bytes={from}-{}", until - 1),
        Some(_) => return Err(unfit()),
    };
    HeaderValue::try_from(text).map(Some).map_err(|_| unfit())
}

/// The part of a blob that a response carries.
struct Extent {
    /// The offset of the body's first byte.
    start: u64,
    /// The size of the whole blob.
    size: Option<u64>,
    /// The length of the body, if it is a part.
    part: Option<u64>,
}

/// Returns the part that comes, after checking that it is the requested one.
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
