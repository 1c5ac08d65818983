//! The one place where errors become HTTP: distribution-spec, "Error codes". A 5xx tells no internals; its details are in
//! the log.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use super::headers::API_VERSION;
use crate::{
    access,
    oci::{
        Action, Digest, ErrorCode, InvalidDigest, InvalidName, InvalidReference, InvalidTag, MOST_RANGES, Repository,
    },
    registry,
};

/// A request that gets no for an answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    /// What went wrong and what to do about it, for whoever reads the client's output.
    message: String,
    retry_after: Option<Duration>,
    /// What can be asked instead: RFC 9110, section 15.5.6 wants it in every 405.
    allow: &'static str,
    /// What a manifest names and is not there: an error each.
    missing: Vec<Digest>,
    /// How to say who one is: RFC 9110, section 15.5.2 wants it in every 401.
    challenge: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, retry_after: None, allow: "GET, HEAD", missing: Vec::new(), challenge: None }
    }

    /// A method that a path does not have.
    pub(super) fn unsupported(allow: &'static str) -> Self {
        let message = format!("this path can be asked {allow}");
        Self { allow, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message) }
    }

    /// Somebody who must say, or say better, who they are.
    pub(super) fn unauthorized(challenge: String) -> Self {
        let message = "this needs a user and the right password: log in (docker login) and try again";
        let refusal = Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message);
        Self { challenge: Some(challenge), ..refusal }
    }

    /// A user who may not do that.
    pub(super) fn forbidden(user: &str, action: Action, repository: &Repository) -> Self {
        // By the name alone: of which registry it is here is not for one who may not read it.
        let name = &repository.name;
        let message = format!("{user} may not {action} {name}: no rule of this registry's operator allows it");
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    /// A token is asked for in a way that there is none.
    pub(super) fn unsupported_grant() -> Self {
        let message = "tokens are given for grant_type=password with username and password, or without any of them";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    }

    /// A token that could not be made.
    pub(super) fn unsigned(error: &access::Error) -> Self {
        tracing::error!("{error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, "this server failed: its log has the reason")
    }

    /// Somebody who guesses passwords, or is taken for one.
    pub(super) fn too_many_attempts(after: Duration) -> Self {
        let message = "too many attempts to log in with a wrong password: wait, then log in with the right one";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(after), ..refusal }
    }

    /// A path that is none of the API's.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path: the registry API lives below /v2/")
    }

    /// A session nobody can have.
    pub(super) fn upload_unknown() -> Self {
        registry::Error::UploadUnknown.into()
    }

    /// An upload that does not say what it uploads.
    pub(super) fn digest_missing() -> Self {
        let message = "the upload's digest is missing: end it with PUT …?digest=<algorithm>:<hex>";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, message)
    }

    /// A `Content-Range` that is none.
    pub(super) fn chunk_range() -> Self {
        let message = "Content-Range is written <first byte>-<last byte>, both counted from 0, and fits Content-Length";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
    }

    /// A body that ended before it was all there.
    pub(super) fn cut() -> Self {
        let message = "the body ended early: ask the session how far it came, and go on from there";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message)
    }

    /// A body that stopped coming.
    pub(super) fn stalled() -> Self {
        let message = "nothing came for too long: ask the session how far it came, and go on from there";
        let refusal = Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// What the mirror's own door does not do.
    pub(super) fn read_only() -> Self {
        let message = "this address serves what is mirrored, to be read: push to the registry's main address";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
    }

    /// What is not mirrored, at the mirror's own door.
    pub(super) fn name_unknown() -> Self {
        registry::Error::NameUnknown.into()
    }

    /// Too many requests of one client.
    pub(super) fn too_often(wait: Duration) -> Self {
        let message = "too many requests of your address: wait a little";
        // Whole seconds, and not too few.
        let retry_after = Some(wait + Duration::from_secs(1));
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after, ..refusal }
    }

    /// Too many requests at once on one connection of HTTP/2.
    pub(super) fn too_many_streams() -> Self {
        let message = "too many requests at once on this connection: wait for the answers to some";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(Duration::from_secs(1)), ..refusal }
    }

    /// Too many uploads of one client.
    pub(super) fn too_many_uploads() -> Self {
        let message = "too many uploads of yours are under way: finish or cancel some, or wait";
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
        Self { retry_after: Some(Duration::from_secs(60)), ..refusal }
    }

    /// Headers of more than `limit` bytes.
    pub(super) fn headers_size(limit: usize) -> Self {
        let message = format!("a request's headers may have {limit} bytes at most");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::Unsupported, message)
    }

    /// A manifest of more than `limit` bytes.
    pub(super) fn manifest_size(limit: usize) -> Self {
        let message = format!("a manifest may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
    }

    /// A form of more than `limit` bytes.
    pub(super) fn form_size(limit: usize) -> Self {
        let message = format!("a form may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::Unsupported, message)
    }

    /// A query of more than `limit` bytes.
    pub(super) fn query_size(limit: usize) -> Self {
        let message = format!("the query of a list may have {limit} bytes at most");
        Self::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message)
    }

    /// A tag that cannot be pushed to.
    pub(super) fn tag(error: InvalidTag) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::TagInvalid, error.to_string())
    }

    /// A reference that cannot be pushed to.
    pub(super) fn reference(error: InvalidReference) -> Self {
        match error {
            InvalidReference::Digest(error) => error.into(),
            InvalidReference::Tag(error) => Self::tag(error),
        }
    }

    /// A page size that is no number.
    pub(super) fn page_size() -> Self {
        let message = "n is the number of entries wanted on a page";
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::PaginationInvalid, message)
    }

    /// More ranges than are answered at once. Podman asks for fewer and larger ones after a 400, and after nothing else.
    pub(super) fn ranges() -> Self {
        let message = format!("a request may ask for {MOST_RANGES} ranges: ask for fewer, larger ones");
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::RangeInvalid, message)
    }

    /// A range beyond the end of a blob of `size` bytes.
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
            // The spec has a GET of such a tag say 404: no manifest can have it.
            InvalidReference::Tag(error) => {
                Self::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, error.to_string())
            }
        }
    }
}

impl From<registry::Error> for ApiError {
    fn from(error: registry::Error) -> Self {
        use registry::Error as E;
        let (status, code) = kind(&error);
        if status.is_server_error() {
            tracing::warn!("answered {}: {error}", status.as_u16());
        }
        let refusal = Self::new(status, code, advice(&error));
        match error {
            E::TooManyRequests { retry_after, .. } => Self { retry_after, ..refusal },
            E::Unproven { retry_after } => Self { retry_after: Some(retry_after), ..refusal },
            E::ManifestBlobUnknown(missing) => Self { missing, ..refusal },
            _ => refusal,
        }
    }
}

/// Status and code of every error of the floor below, a line each.
fn kind(error: &registry::Error) -> (StatusCode, ErrorCode) {
    use registry::Error as E;
    match error {
        E::ManifestUnknown => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        E::BlobUnknown => (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
        E::NameUnknown | E::NotMirrored(_) => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        E::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests),
        E::Incomplete { .. } | E::BadGateway(_) | E::Mismatch { .. } => {
            (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable)
        }
        E::Unproven { .. } => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        E::Crowded(_) => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        E::GatewayTimeout(_) => (StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable),
        E::Denied(_) | E::InsufficientSpace(_) => (StatusCode::FORBIDDEN, ErrorCode::Denied),
        E::Storage(failed) if failed.is_full() => (StatusCode::FORBIDDEN, ErrorCode::Denied),
        E::Unsupported(_) => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        E::UploadUnknown => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        E::UploadRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid),
        E::DigestInvalid { .. } => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        E::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        E::ManifestBlobUnknown(_) => (StatusCode::NOT_FOUND, ErrorCode::ManifestBlobUnknown),
        E::Storage(_) | E::Abandoned | E::UnderWay | E::NoIndex => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown)
        }
    }
}

/// What a client is told, and what its user can do.
pub(super) fn advice(error: &registry::Error) -> String {
    use registry::Error as E;
    let text = match error {
        E::ManifestUnknown => {
            "no such manifest, or one that the upstream does not let this mirror see (official images of the Hub are named \
             library/NAME)"
        }
        E::BlobUnknown => "no such blob in this repository",
        E::NameUnknown => "no such repository",
        E::NotMirrored(ns) => {
            return format!(
                "{ns:?} is not mirrored here: ask that registry itself, or have this mirror's operator add it"
            );
        }
        E::TooManyRequests { message, .. } => {
            return format!(
                "the upstream allows no more requests for now, and this is not cached: wait, or have this mirror's operator \
                 set proxy.username and proxy.password ({message})"
            );
        }
        E::Incomplete { missing } => {
            return format!(
                "the upstream cannot be reached, and {missing}, which this image needs, is not cached: try again later"
            );
        }
        E::BadGateway(_) | E::Mismatch { .. } => {
            "the upstream failed, and this is not cached: try again later; the mirror's log has the reason"
        }
        E::Crowded(_) => "this server is asking upstreams for as much as it can: try again in a moment",
        E::GatewayTimeout(_) => "the upstream did not answer in time, and this is not cached: try again later",
        E::Storage(failed) if failed.is_full() => "no space left on device",
        E::UploadUnknown => {
            "no such upload session in this repository: it has ended, or was purged. Begin anew with POST"
        }
        E::ManifestBlobUnknown(_) => "the manifest names what is not in this repository: push that first",
        E::Storage(_) | E::Abandoned | E::UnderWay | E::NoIndex => "this server failed: its log has the reason",
        E::Denied(why) | E::Unsupported(why) | E::ManifestInvalid(why) => why,
        E::Unproven { .. } | E::UploadRange { .. } | E::DigestInvalid { .. } | E::InsufficientSpace(_) => {
            return error.to_string();
        }
    };
    text.to_owned()
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
