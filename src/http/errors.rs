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
    oci::{ErrorCode, InvalidDigest, InvalidName, InvalidReference},
    registry,
};

/// A request that gets no for an answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    /// What went wrong and what to do about it, for whoever reads the client's output.
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A write, on a path that is read only.
    pub(super) fn unsupported() -> Self {
        let message = "this server mirrors and takes no pushes: push to the registry the image belongs to";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
    }

    /// A path that is none of the API's.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path: the registry API lives below /v2/")
    }

    /// A range beyond the end of a blob of `size` bytes.
    pub(super) fn range(size: u64) -> Self {
        let message = format!("the range is beyond the end: the blob has {size} bytes");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, message)
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::NameInvalid, error.to_string())
    }
}

impl From<InvalidDigest> for Refusal {
    fn from(error: InvalidDigest) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, error.to_string())
    }
}

impl From<InvalidReference> for Refusal {
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

impl From<registry::Error> for Refusal {
    fn from(error: registry::Error) -> Self {
        use registry::Error as E;
        let (status, code, message) = match &error {
            E::ManifestUnknown => (
                StatusCode::NOT_FOUND,
                ErrorCode::ManifestUnknown,
                "no such manifest, or one that the upstream does not let this mirror see (official images of the Hub are \
                 named library/NAME)"
                    .into(),
            ),
            E::BlobUnknown => {
                (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown, "no such blob in this repository".into())
            }
            E::NameUnknown => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "no such repository".into()),
            E::NotMirrored(ns) => (
                StatusCode::NOT_FOUND,
                ErrorCode::NameUnknown,
                format!("{ns:?} is not mirrored here: ask that registry itself, or have this mirror's operator add it"),
            ),
            E::TooManyRequests { message, .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::TooManyRequests,
                format!(
                    "the upstream allows no more requests for now, and this is not cached: wait, or have this mirror's \
                     operator set proxy.username and proxy.password ({message})"
                ),
            ),
            E::Incomplete { missing } => (
                StatusCode::BAD_GATEWAY,
                ErrorCode::Unavailable,
                format!("the upstream cannot be reached, and {missing}, which this image needs, is not cached: try again later"),
            ),
            E::BadGateway(_) | E::Mismatch { .. } => (
                StatusCode::BAD_GATEWAY,
                ErrorCode::Unavailable,
                "the upstream failed, and this is not cached: try again later; the mirror's log has the reason".into(),
            ),
            E::GatewayTimeout(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                ErrorCode::Unavailable,
                "the upstream did not answer in time, and this is not cached: try again later".into(),
            ),
            E::Short(_) | E::Storage(_) | E::Abandoned => (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorCode::Unknown,
                "this server failed: its log has the reason".into(),
            ),
        };
        if status.is_server_error() {
            tracing::warn!("answered {}: {error}", status.as_u16());
        }
        let retry_after = match error {
            E::TooManyRequests { retry_after, .. } => retry_after,
            _ => None,
        };
        Self { status, code, message, retry_after }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(API_VERSION);
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.insert_header((header::ALLOW, "GET, HEAD"));
        }
        response.json(json!({ "errors": [{ "code": self.code.as_str(), "message": self.message, "detail": null }] }))
    }
}
