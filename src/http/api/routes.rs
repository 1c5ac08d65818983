//! The routes of the API: distribution-spec, "Endpoints".

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::{Method, header},
    web::{self, Payload},
};

use super::{api_version, blobs, catalog, manifests, referrers, tags, uploads};
use crate::http::{
    auth::token,
    context::{self, State},
    endpoint::{Endpoint, EndpointKind},
    errors::ApiError,
    paths::ROOT,
};

/// Adds `/`, outside the prefix: Helm charts and load balancers probe it, and registry:2 answers 200 without
/// authentication.
pub(in crate::http) fn configure_root(service: &mut web::ServiceConfig) {
    service.service(resource(ROOT.into(), READ).route(web::get().to(alive)).route(web::head().to(alive)));
}

/// Adds the API's routes below `prefix` (`/`, or `/some/path/`): all paths that no other service of the app has.
///
/// The router of actix-web would match each path against one regular expression after the other.
pub(in crate::http) fn configure(service: &mut web::ServiceConfig, prefix: &str) {
    service
        .service(
            resource(format!("{prefix}token"), "GET, POST")
                .route(web::get().to(token::get))
                .route(web::post().to(token::post)),
        )
        .default_service(web::route().to(dispatch));
}

/// Answers a request by its endpoint and method. Other methods get UNSUPPORTED.
async fn dispatch(registry: State, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let Some(Endpoint { kind, .. }) = context::endpoint(&request) else { return Err(ApiError::no_such_path()) };
    if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        return receive(kind, registry, request, payload).await;
    }
    // Whatever comes with other methods is not read.
    drop(payload);
    answer(kind, registry, request).await
}

/// Answers a request with a body.
async fn receive(
    kind: EndpointKind,
    registry: State,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    match (kind, request.method().as_str()) {
        (EndpointKind::Manifest, "PUT") => manifests::put(registry, request, payload).await,
        (EndpointKind::Uploads, "POST") => uploads::post(registry, request, payload).await,
        (EndpointKind::Upload, "PATCH") => uploads::patch(registry, request, payload).await,
        (EndpointKind::Upload, "PUT") => uploads::put(registry, request, payload).await,
        (kind, _) => Err(ApiError::unsupported(methods(kind))),
    }
}

/// Answers a request without a body.
async fn answer(kind: EndpointKind, registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    match (kind, request.method().as_str()) {
        (EndpointKind::Base, "GET" | "HEAD") => api_version::get(request).await,
        (EndpointKind::Catalog, "GET" | "HEAD") => catalog::list(registry, request).await,
        (EndpointKind::Tags, "GET" | "HEAD") => tags::list(registry, request).await,
        (EndpointKind::Manifest, "GET") => manifests::get(registry, request).await,
        (EndpointKind::Manifest, "HEAD") => manifests::head(registry, request).await,
        (EndpointKind::Manifest, "DELETE") => manifests::delete(registry, request).await,
        (EndpointKind::Blob, "GET") => blobs::get(registry, request).await,
        (EndpointKind::Blob, "HEAD") => blobs::head(registry, request).await,
        (EndpointKind::Blob, "DELETE") => blobs::delete(registry, request).await,
        (EndpointKind::Upload, "GET" | "HEAD") => uploads::get(registry, request).await,
        (EndpointKind::Upload, "DELETE") => uploads::delete(registry, request).await,
        (EndpointKind::Referrers, "GET" | "HEAD") => referrers::list(registry, request).await,
        (kind, "OPTIONS") => Ok(options(methods(kind))),
        (kind, _) => Err(ApiError::unsupported(methods(kind))),
    }
}

/// Returns the methods of an endpoint, for `Allow`.
fn methods(kind: EndpointKind) -> &'static str {
    match kind {
        EndpointKind::Base | EndpointKind::Catalog | EndpointKind::Tags | EndpointKind::Referrers => READ,
        EndpointKind::Manifest => "GET, HEAD, PUT, DELETE",
        EndpointKind::Blob => "GET, HEAD, DELETE",
        EndpointKind::Uploads => "POST",
        EndpointKind::Upload => "GET, HEAD, PATCH, PUT, DELETE",
    }
}

const READ: &str = "GET, HEAD";

/// The answer to OPTIONS, which browsers send before a DELETE.
fn options(methods: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::ALLOW, methods)).finish()
}

/// Returns a resource that lists its methods for OPTIONS and for unsupported methods.
fn resource(path: String, methods: &'static str) -> Resource {
    let unsupported = move || async move { Err::<HttpResponse, _>(ApiError::unsupported(methods)) };
    web::resource(path)
        .route(web::method(Method::OPTIONS).to(move || async move { options(methods) }))
        .default_service(web::route().to(unsupported))
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).finish()
}
