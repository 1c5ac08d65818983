//! Converts every error into an HTTP response, in the format of distribution-spec, "Error codes". A 5xx response
//! contains no internals; the log has them.

use std::{borrow::Cow, fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use super::headers::API_VERSION;
use crate::{
    access,
    notifications::NotNoted,
    oci::{
        Action, Digest, ErrorCode, InvalidDigest, InvalidName, InvalidReference, InvalidTag, MAX_RANGES, Repository,
    },
    registry,
};

/// An error response.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    /// The cause and the remedy, for the user who reads the client's output.
    message: String,
    retry_after: Option<Duration>,
    /// The value of `Allow`, which RFC 9110, section 15.5.6 requires in every 405.
    allow: &'static str,
    /// The digests that a manifest refers to and that are missing: one error entry each.
    missing: Vec<Digest>,
    /// The value of `WWW-Authenticate`, which RFC 9110, section 15.5.2 requires in every 401.
    challenge: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, retry_after: None, allow: "GET, HEAD", missing: Vec::new(), challenge: None }
    }

    /// The event of the request could not be written, so the request is not acknowledged.
    pub(super) fn not_noted(error: NotNoted) -> Self {
        let NotNoted::Storage(error) = error else { return registry::Error::ShuttingDown.into() };
        registry::Error::from(error).into()
    }

    /// The path does not support the method.
    pub(super) fn unsupported(allow: &'static str) -> Self {
        let message = format!("this path can be asked {allow}");
        Self { allow, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message) }
    }

    /// The request needs credentials, or other ones.
    pub(super) fn unauthorized(challenge: String) -> Self {
        let message = "this needs a user and the right password: log in (docker login) and try again";
        let refusal = Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message);
        Self { challenge: Some(challenge), ..refusal }
    }

    /// The user has no permission for the action.
    pub(super) fn forbidden(user: &str, action: Action, repository: &Repository) -> Self {
        // The message omits the registry's domain, which a user without permission to read must not learn.
        let name = &repository.name;
        let message = format!("{user} may not {action} {name}: no rule of this registry's operator allows it");
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// The token request has an unsupported `grant_type`.
    pub(super) fn unsupported_grant() -> Self {
        let message = "tokens are given for grant_type=password with username and password, or without any of them";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    }

    /// The token could not be signed.
    pub(super) fn unsigned(error: &access::Error) -> Self {
        tracing::error!(%error, "request failed; answering 500");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, SERVER_FAILED)
    }

    /// The client had too many failed logins.
    pub(super) fn too_many_attempts(after: Duration) -> Self {
        let message = "too many attempts to log in with a wrong password: wait, then log in with the right one";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(after), ..refusal }
    }

    /// Nobody can prove to be the operator.
    pub(super) fn without_users() -> Self {
        let message = "this needs users: name some (auth.htpasswd) and let them manage (auth.access), or run the command \
                       (entrepot list, purge, …) on the server's machine";
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// The user may not manage every repository.
    pub(super) fn manages_not_everything() -> Self {
        let message =
            "this concerns all repositories: a rule of auth.access with may: [manage] and where: [\"**\"] allows it";
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// The request comes from a page of another site.
    pub(super) fn other_site() -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, "this cannot be asked from a page of another site")
    }

    /// The body is not JSON.
    pub(super) fn not_json() -> Self {
        let message = "the body is JSON, and Content-Type: application/json says so";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::Unsupported, message)
    }

    /// The request's parameters are invalid.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    }

    /// The path is not part of the API.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path: the registry API lives below /v2/")
    }

    /// The session's name is not one that this server issues.
    pub(super) fn upload_unknown() -> Self {
        registry::Error::UploadUnknown.into()
    }

    /// The upload's last request has no digest.
    pub(super) fn digest_missing() -> Self {
        let message = "the upload's digest is missing: end it with PUT …?digest=<algorithm>:<hex>";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, message)
    }

    /// The `Content-Range` is malformed.
    pub(super) fn chunk_range() -> Self {
        let message = "Content-Range is written <first byte>-<last byte>, both counted from 0, and fits Content-Length";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
    }

    /// The body ended before its announced length.
    pub(super) fn cut() -> Self {
        let message = "the body ended early: ask the session how far it came, and go on from there";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message)
    }

    /// The body stalled.
    pub(super) fn stalled() -> Self {
        let message = "nothing came for too long: ask the session how far it came, and go on from there";
        let refusal = Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// The mirror listener does not allow writes.
    pub(super) fn read_only() -> Self {
        let message = "this address serves what is mirrored, to be read: push to the registry's main address";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
    }

    /// The request's host stands for an upstream.
    pub(super) fn not_pushed_to(registry: &str) -> Self {
        let message =
            format!("this host name serves what {registry} has, to be read: push to the registry's main host name");
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// The repository is not mirrored, so the mirror listener does not serve it.
    pub(super) fn name_unknown() -> Self {
        registry::Error::NameUnknown.into()
    }

    /// The client exceeded its request rate.
    pub(super) fn too_often(wait: Duration) -> Self {
        let message = "too many requests of your address: wait a little";
        // Rounded up to whole seconds.
        let retry_after = Some(wait + Duration::from_secs(1));
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after, ..refusal }
    }

    /// The client has too many concurrent streams on one HTTP/2 connection.
    pub(super) fn too_many_streams() -> Self {
        let message = "too many requests at once on this connection: wait for the answers to some";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// The client has too many open uploads.
    pub(super) fn too_many_uploads() -> Self {
        let message = "too many uploads of yours are under way: finish or cancel some, or wait";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(Duration::from_secs(60)), ..refusal }
    }

    /// The headers exceed `limit` bytes.
    pub(super) fn headers_size(limit: usize) -> Self {
        let message = format!("a request's headers may have {limit} bytes at most");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::Unsupported, message)
    }

    /// The manifest exceeds `limit` bytes.
    pub(super) fn manifest_size(limit: usize) -> Self {
        let message = format!("a manifest may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
    }

    /// The form exceeds `limit` bytes.
    pub(super) fn form_size(limit: usize) -> Self {
        let message = format!("a form may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::Unsupported, message)
    }

    /// The query exceeds `limit` bytes.
    pub(super) fn query_size(limit: usize) -> Self {
        let message = format!("the query of a list may have {limit} bytes at most");
        Self::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message)
    }

    /// The tag is not valid for a push.
    pub(super) fn tag(error: InvalidTag) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::TagInvalid, error.to_string())
    }

    /// The reference is not valid for a push.
    pub(super) fn reference(error: InvalidReference) -> Self {
        match error {
            InvalidReference::Digest(error) => error.into(),
            InvalidReference::Tag(error) => Self::tag(error),
        }
    }

    /// The page size is not a number.
    pub(super) fn page_size() -> Self {
        let message = "n is the number of entries wanted on a page";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::PaginationInvalid, message)
    }

    /// The request has too many ranges. Podman retries with fewer, larger ranges after a 400 and no other status.
    pub(super) fn ranges() -> Self {
        let message = format!("a request may ask for {MAX_RANGES} ranges: ask for fewer, larger ones");
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::RangeInvalid, message)
    }

    /// The range starts beyond the end of a blob of `size` bytes.
    pub(super) fn range(size: u64) -> Self {
        let message = format!("the range is beyond the end: the blob has {size} bytes");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, message)
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::NameInvalid, error.to_string())
    }
}

impl From<InvalidDigest> for ApiError {
    fn from(error: InvalidDigest) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string())
    }
}

impl From<InvalidReference> for ApiError {
    fn from(error: InvalidReference) -> Self {
        match error {
            InvalidReference::Digest(error) => error.into(),
            // The spec requires 404 for a GET of an invalid tag: no manifest can have it.
            InvalidReference::Tag(error) => {
                Self::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, error.to_string())
            }
        }
    }
}

impl From<registry::Error> for ApiError {
    fn from(error: registry::Error) -> Self {
        use registry::Error as E;
        let (status, code, message) = answer(&error);
        if status.is_server_error() {
            tracing::warn!("{error}; answering {}", status.as_u16());
        }
        let refusal = Self::new(status, code, message);
        match error {
            E::TooManyRequests { retry_after, .. } => Self { retry_after, ..refusal },
            E::Unproven { retry_after } => Self { retry_after: Some(retry_after), ..refusal },
            E::ManifestBlobUnknown(missing) => Self { missing, ..refusal },
            _ => refusal,
        }
    }
}

const MANIFEST_UNKNOWN: &str = "no such manifest, or one that the upstream does not let this mirror see (official images of \
                                the Hub are named library/NAME)";
const UPSTREAM_FAILED: &str =
    "the upstream failed, and this is not cached: try again later; the mirror's log has the reason";
const UPSTREAM_LATE: &str = "the upstream did not answer in time, and this is not cached: try again later";
const CONCURRENCY_LIMIT: &str = "this server is asking upstreams for as much as it can: try again in a moment";
const UPLOAD_UNKNOWN: &str =
    "no such upload session in this repository: it has ended, or was purged. Begin anew with POST";
const MANIFEST_BLOB_UNKNOWN: &str = "the manifest names what is not in this repository: push that first";
const SERVER_FAILED: &str = "this server failed: its log has the reason";

/// Returns the response to an error of the registry: its status, its code, and the message that says what failed and
/// what the user can do.
fn answer(error: &registry::Error) -> (StatusCode, ErrorCode, Cow<'_, str>) {
    use ErrorCode as C;
    use StatusCode as S;
    use registry::Error as E;
    match error {
        E::ManifestUnknown => (S::NOT_FOUND, C::ManifestUnknown, MANIFEST_UNKNOWN.into()),
        E::BlobUnknown => (S::NOT_FOUND, C::BlobUnknown, "no such blob in this repository".into()),
        E::NameUnknown => (S::NOT_FOUND, C::NameUnknown, "no such repository".into()),
        E::NotMirrored(ns) => (S::NOT_FOUND, C::NameUnknown, not_mirrored(ns).into()),
        E::TooManyRequests { message, retry_after } => {
            (S::TOO_MANY_REQUESTS, C::TooManyRequests, rate_limited(message, *retry_after).into())
        }
        E::Incomplete { missing } => (S::BAD_GATEWAY, C::Unavailable, incomplete(missing).into()),
        E::UpstreamFailed(_) | E::UnusableAnswer(_) | E::SizeUnknown(_) | E::Mismatch { .. } => {
            (S::BAD_GATEWAY, C::Unavailable, UPSTREAM_FAILED.into())
        }
        E::UpstreamTimedOut(_) => (S::GATEWAY_TIMEOUT, C::Unavailable, UPSTREAM_LATE.into()),
        E::ConcurrencyLimit => (S::SERVICE_UNAVAILABLE, C::Unavailable, CONCURRENCY_LIMIT.into()),
        E::NoIndex | E::UnderWay => (S::SERVICE_UNAVAILABLE, C::Unavailable, error.to_string().into()),
        E::Unproven { .. } => (S::SERVICE_UNAVAILABLE, C::Unavailable, error.to_string().into()),
        E::Denied(why) => (S::FORBIDDEN, C::Denied, why.into()),
        E::ImmutableTag(why) => (S::CONFLICT, C::Denied, why.into()),
        E::NothingHere(_) => (S::NOT_FOUND, C::NameUnknown, error.to_string().into()),
        E::InsufficientSpace(_) => (S::FORBIDDEN, C::Denied, error.to_string().into()),
        E::Storage(failed) if failed.is_full() => (S::FORBIDDEN, C::Denied, "no space left on device".into()),
        E::Unsupported(why) => (S::METHOD_NOT_ALLOWED, C::Unsupported, why.into()),
        E::UploadUnknown => (S::NOT_FOUND, C::BlobUploadUnknown, UPLOAD_UNKNOWN.into()),
        E::UploadRange { .. } => (S::RANGE_NOT_SATISFIABLE, C::RangeInvalid, error.to_string().into()),
        E::DigestInvalid { .. } => (S::BAD_REQUEST, C::DigestInvalid, error.to_string().into()),
        E::ManifestInvalid(why) => (S::BAD_REQUEST, C::ManifestInvalid, why.into()),
        E::ManifestBlobUnknown(_) => (S::NOT_FOUND, C::ManifestBlobUnknown, MANIFEST_BLOB_UNKNOWN.into()),
        E::Storage(_) | E::Panicked | E::Cancelled | E::ShuttingDown | E::Unread | E::Contended => {
            (S::INTERNAL_SERVER_ERROR, C::Unknown, SERVER_FAILED.into())
        }
    }
}

/// Returns the message for the client: the failure, and what its user can do.
pub(super) fn advice(error: &registry::Error) -> Cow<'_, str> {
    answer(error).2
}

fn not_mirrored(ns: &str) -> String {
    format!("{ns:?} is not mirrored here: ask that registry itself, or have this mirror's operator add it")
}

fn rate_limited(message: &str, retry_after: Option<Duration>) -> String {
    let wait = retry_after.map_or_else(|| "wait".to_owned(), |wait| format!("try again in {} s", wait.as_secs()));
    format!(
        "the upstream allows no more requests for now, and this is not cached: {wait}, or have this mirror's operator add \
         an account there ({message})"
    )
}

fn incomplete(missing: &Digest) -> String {
    format!("the upstream cannot be reached, and {missing}, which this image needs, is not cached: try again later")
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(API_VERSION);
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        if let Some(challenge) = &self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, challenge.as_str()));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, self.allow));
        }
        let error = |detail| json!({ "code": self.code.as_str(), "message": self.message, "detail": detail });
        let mut errors: Vec<_> =
            self.missing.iter().map(|digest| error(json!({ "digest": digest.to_string() }))).collect();
        if errors.is_empty() {
            errors.push(error(serde_json::Value::Null));
        }
        response.json(json!({ "errors": errors }))
    }
}
