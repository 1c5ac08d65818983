//! What is counted of requests and their answers: by what their path means, never by what it says.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::metrics;
use crate::{
    http::{context::State, paths},
    metrics::{Content, Metrics, Route, Tally},
    oci::Repository,
    registry::{CacheStatus, Registry},
};

/// Counts a request, and the bytes of both bodies as they pass.
pub(in crate::http) async fn count(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(registry) = request.app_data::<State>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (began, method) = (Instant::now(), method(request.method()));
    let route = route(request.match_pattern().as_deref().unwrap_or_default());
    count_received(&mut request, registry.metrics(), route);
    let response = next.call(request).await?;
    registry.metrics().answered(route, method, response.status().as_u16(), began.elapsed());
    let sent = registry.metrics().sent(route);
    Ok(response.map_body(|_, body| BoxBody::new(Counted { body: body.boxed(), sent })))
}

/// Mirrored content is given for an answer: counts that; what its bytes are to be added to.
pub(in crate::http) fn answered(
    registry: &Registry,
    repository: &Repository,
    content: Content,
    provenance: CacheStatus,
) -> Option<Tally> {
    let (upstream, answer) = (repository.domain.as_ref()?, provenance.answer()?);
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

/// What the pattern of a path means: `routes.rs`, less the prefix.
fn route(pattern: &str) -> Route {
    let ends = |end: &str| pattern.ends_with(end);
    match pattern {
        paths::ALIVE | paths::READY | "/debug/health" => Route::Health,
        metrics::PATH => Route::Metrics,
        _ if ends("/v2") || ends("/v2/") => Route::Base,
        _ if ends("/_catalog") => Route::Catalog,
        _ if ends("/tags/list") => Route::Tags,
        _ if ends("/manifests/{reference}") => Route::Manifests,
        _ if ends("/uploads") || ends("/uploads/") || ends("/uploads/{session}") => Route::Uploads,
        _ if ends("/blobs/{digest}") => Route::Blobs,
        _ if ends("/referrers/{digest}") => Route::Referrers,
        _ => Route::Other,
    }
}

/// A method's name, if it is one of HTTP's own.
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

/// A body whose bytes are counted as they are taken from it.
struct Counted {
    body: BoxBody,
    sent: Tally,
}

impl MessageBody for Counted {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = ready!(self.body.as_pin_mut().poll_next(cx));
        if let Some(Ok(bytes)) = &piece {
            self.sent.add(bytes.len() as u64);
        }
        Poll::Ready(piece)
    }
}
