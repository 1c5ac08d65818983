//! The access log: one line for each request, to the log target `access`, when its response has ended.
//! `log.accesslog.disabled` turns it off. docs/logs.md lists the fields.

use std::time::Instant;

use actix_web::{
    Error, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    middleware::Next,
};

use super::{
    counted_body::{ByteCount, CountedBody},
    http_metrics,
};
use crate::{
    http::{context, headers::DOCKER_CONTENT_DIGEST, paths, transport::forwarded::client_address},
    metrics::Route,
    oci::Repository,
};

/// Writes the line when the response's body has ended or was cut off. Probes are frequent and logged at debug level
/// only. The query is never logged, because it may contain secrets.
pub(in crate::http) async fn write(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let response = next.call(request).await?.map_into_boxed_body();
    if paths::is_probe(response.request().path()) {
        tracing::debug!(target: "access", path = response.request().path(), status = response.status().as_u16());
        return Ok(response);
    }
    let line = AccessLine::of(&response, began);
    Ok(CountedBody::of(response, line))
}

/// The fields that are known before the body is sent. An absent field is left out of the line.
struct AccessLine {
    began: Instant,
    remote: String,
    user: Option<String>,
    method: String,
    path: String,
    status: StatusCode,
    repository: Option<Repository>,
    kind: Option<&'static str>,
    digest: Option<String>,
    /// The size of the whole object in bytes, whichever part of it is sent.
    size: Option<u64>,
    /// The bytes of the body that were sent.
    sent: u64,
    cache: Option<String>,
    range: Option<String>,
    agent: Option<String>,
}

impl AccessLine {
    fn of(response: &ServiceResponse<BoxBody>, began: Instant) -> Self {
        let request = response.request();
        Self {
            began,
            remote: client_address(request).to_string(),
            user: context::caller(request).who.name().map(str::to_owned),
            method: request.method().to_string(),
            path: request.path().to_owned(),
            status: response.status(),
            repository: context::repository(request),
            kind: kind(request),
            digest: text(response.headers(), DOCKER_CONTENT_DIGEST.as_str()),
            size: size(response),
            sent: 0,
            cache: text(response.headers(), "cache-status"),
            range: text(request.headers(), header::RANGE.as_str()),
            agent: text(request.headers(), header::USER_AGENT.as_str()),
        }
    }
}

impl ByteCount for AccessLine {
    fn add(&mut self, bytes: u64) {
        self.sent += bytes;
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        tracing::info!(
            target: "access",
            remote = %self.remote,
            user = self.user,
            method = %self.method,
            path = self.path,
            status = self.status.as_u16(),
            repository = self.repository.as_ref().map(|repository| repository.name.as_str()),
            upstream = self.repository.as_ref().and_then(|repository| repository.domain.as_ref()).map(ToString::to_string),
            kind = self.kind,
            digest = self.digest,
            size = self.size,
            sent = self.sent,
            cache = self.cache,
            range = self.range,
            agent = self.agent,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Returns the kind of object that the path names.
fn kind(request: &HttpRequest) -> Option<&'static str> {
    match http_metrics::route(request) {
        Route::Manifests => Some("manifest"),
        Route::Blobs => Some("blob"),
        Route::Uploads => Some("upload"),
        Route::Tags => Some("tags"),
        Route::Referrers => Some("referrers"),
        _ => None,
    }
}

/// Returns the size of the whole object that a successful response has, or has a part of.
fn size(response: &ServiceResponse<BoxBody>) -> Option<u64> {
    match (response.status(), response.response().body().size()) {
        (StatusCode::OK, BodySize::Sized(size)) => Some(size),
        // Sent from a file.
        (StatusCode::OK, BodySize::Stream) => text(response.headers(), header::CONTENT_LENGTH.as_str())?.parse().ok(),
        (StatusCode::PARTIAL_CONTENT, _) => {
            text(response.headers(), header::CONTENT_RANGE.as_str())?.rsplit_once('/')?.1.parse().ok()
        }
        _ => None,
    }
}
