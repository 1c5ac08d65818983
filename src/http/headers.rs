//! Headers that several responses share: version, digest, `Cache-Status`, `Link`, and the configured ones.

use std::collections::HashSet;

use actix_web::{
    Error, HttpRequest, HttpResponseBuilder,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderName, HeaderValue},
    middleware::Next,
};

use super::context;

use crate::{
    oci::Digest,
    registry::{CacheStatus, Refused, StoreResult},
};

/// The header by which clients recognise a registry.
pub(super) const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
/// Prevents browsers from rendering uploaded content as a page.
pub(super) const NOSNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The tags that a pushed manifest was given (distribution-spec, "Pushing Manifests").
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Adds the content's digest, its `ETag` and its cache status.
pub(super) fn describe(response: &mut HttpResponseBuilder, digest: &Digest, status: CacheStatus) {
    response
        .insert_header((DOCKER_CONTENT_DIGEST, digest.to_string()))
        .insert_header((header::ETAG, format!("\"{digest}\"")))
        .insert_header(cache_status(status));
}

/// Returns `Cache-Status` (RFC 9211). `stored` is set if the content is being stored; `detail` names the reason if
/// storing failed.
pub(super) fn cache_status(status: CacheStatus) -> (HeaderName, &'static str) {
    let value = match status {
        CacheStatus::Hosted | CacheStatus::Hit => "entrepot; hit",
        CacheStatus::Revalidated => "entrepot; hit; detail=revalidated",
        CacheStatus::Miss { collapsed, kept } => miss(collapsed, kept),
        CacheStatus::Stale { superseded: false } => "entrepot; fwd=stale",
        CacheStatus::Stale { superseded: true } => "entrepot; fwd=stale; detail=newer-not-cached",
    };
    (CACHE_STATUS, value)
}

fn miss(collapsed: bool, kept: StoreResult) -> &'static str {
    match (kept, collapsed) {
        (StoreResult::Stored, false) => "entrepot; fwd=miss; stored",
        (StoreResult::Stored, true) => "entrepot; fwd=miss; stored; collapsed",
        (StoreResult::Nothing, false) => "entrepot; fwd=miss",
        (StoreResult::Nothing, true) => "entrepot; fwd=miss; collapsed",
        (StoreResult::Refused(Refused::NoSpace), false) => "entrepot; fwd=miss; detail=no-space",
        (StoreResult::Refused(Refused::NoSpace), true) => "entrepot; fwd=miss; collapsed; detail=no-space",
        (StoreResult::Refused(Refused::DiskFailed), false) => "entrepot; fwd=miss; detail=disk-failed",
        (StoreResult::Refused(Refused::DiskFailed), true) => "entrepot; fwd=miss; collapsed; detail=disk-failed",
    }
}

/// Returns true if the client has this content already: `If-None-Match`, RFC 9110, section 13.1.2.
pub(super) fn holds(request: &HttpRequest, digest: &Digest) -> bool {
    let digest = digest.to_string();
    let tag = |candidate: &str| {
        let candidate = candidate.trim();
        let opaque = candidate.strip_prefix("W/").unwrap_or(candidate).trim_matches('"');
        opaque == "*" || opaque == digest
    };
    let values = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(tag)
}

/// Returns a `Link` to the next page of a list (RFC 8288). It keeps the `ns` parameter of the request.
pub(super) fn next_link(request: &HttpRequest, next: &str) -> String {
    let ns = url::form_urlencoded::parse(request.query_string().as_bytes()).filter(|(key, _)| key == "ns");
    let pairs = url::form_urlencoded::parse(next.as_bytes()).filter(|(key, _)| key != "ns").chain(ns);
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("<{}?{query}>; rel=\"next\"", request.path())
}

/// Adds the headers of `http.headers`, unless the response has a header of the same name.
pub(super) async fn add_configured(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    let configured = context::settings(response.request()).headers.clone();
    let own: HashSet<HeaderName> = response.headers().keys().cloned().collect();
    for (name, value) in configured {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !own.contains(&name)
        {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}
