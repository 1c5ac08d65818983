//! Middleware that counts requests, responses and body bytes, by route and method. Labels never contain a path itself.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{
    counted_body::{ByteCount, CountedBody},
    metrics,
};
use crate::{
    http::{
        context::{self, State},
        endpoint::EndpointKind,
        paths,
    },
    metrics::{Content, LabelledCounter, Metrics, Route},
    oci::Repository,
    registry::{CacheStatus, Registry},
};

/// Counts a request, its duration, and the bytes of both bodies as they are transferred.
pub(in crate::http) async fn count(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(registry) = request.app_data::<State>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (began, method) = (Instant::now(), method(request.method()));
    let route = route(request.request());
    count_received(&mut request, registry.metrics(), route);
    let response = next.call(request).await?;
    registry.metrics().answered(route, method, response.status().as_u16(), began.elapsed());
    let sent = registry.metrics().sent(route);
    Ok(CountedBody::of(response, sent))
}

/// Counts a response with mirrored content and returns the counter for the bytes of its body.
pub(in crate::http) fn answered(
    registry: &Registry,
    repository: &Repository,
    content: Content,
    cache_status: CacheStatus,
) -> Option<LabelledCounter> {
    let (upstream, answer) = (repository.domain.as_ref()?, cache_status.answer()?);
    registry.metrics().cached(upstream, content, answer);
    Some(registry.metrics().served(upstream, content, answer))
}

fn count_received(request: &mut ServiceRequest, metrics: &Metrics, route: Route) {
    if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        let tally = metrics.received(route);
        let count = move |piece: &Result<Bytes, _>| piece.iter().for_each(|bytes| tally.add(bytes.len() as u64));
        let payload = Box::pin(request.take_payload().inspect(count));
        request.set_payload(Payload::Stream { payload });
    }
}

/// Maps a request's path to the metric's label.
pub(super) fn route(request: &HttpRequest) -> Route {
    if let Some(endpoint) = context::endpoint(request) {
        return match endpoint.kind {
            EndpointKind::Base => Route::Base,
            EndpointKind::Catalog => Route::Catalog,
            EndpointKind::Tags => Route::Tags,
            EndpointKind::Manifest => Route::Manifests,
            EndpointKind::Uploads | EndpointKind::Upload => Route::Uploads,
            EndpointKind::Blob => Route::Blobs,
            EndpointKind::Referrers => Route::Referrers,
        };
    }
    match request.path() {
        paths::ALIVE | paths::READY | "/debug/health" => Route::Health,
        metrics::PATH => Route::Metrics,
        _ => Route::Other,
    }
}

/// Returns the method's name, or `other` for a method that RFC 9110 does not define, so that clients cannot add labels.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl ByteCount for LabelledCounter {
    fn add(&mut self, bytes: u64) {
        LabelledCounter::add(self, bytes);
    }
}
