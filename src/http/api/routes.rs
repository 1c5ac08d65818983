//! The routes of the API: distribution-spec, "Endpoints".

use actix_web::{
    HttpResponse, Resource, Route,
    http::{Method, header},
    web,
};

use super::{api_version, blobs, catalog, manifests, referrers, tags, uploads};
use crate::http::{auth::token, errors::ApiError, paths::ROOT};

/// Adds `/`, outside the prefix: Helm charts and load balancers probe it, and registry:2 answers 200 without
/// authentication.
pub(in crate::http) fn configure_root(service: &mut web::ServiceConfig) {
    service.service(readable(resource(ROOT.into(), READ), web::get().to(alive), web::head().to(alive)));
}

/// Adds the API's routes below `prefix` (`/`, or `/some/path/`). Other methods get UNSUPPORTED.
pub(in crate::http) fn configure(service: &mut web::ServiceConfig, prefix: &str) {
    let api = |path: &str, allow: &'static str| resource(format!("{prefix}v2{path}"), allow);
    // More specific routes come first: a repository may be named `uploads`.
    service
        .service(readable(api("", READ), web::get().to(api_version::get), web::head().to(api_version::get)))
        .service(readable(api("/", READ), web::get().to(api_version::get), web::head().to(api_version::get)))
        .service(readable(api("/_catalog", READ), web::get().to(catalog::list), web::head().to(catalog::list)))
        .service(readable(api("/{name:.+}/tags/list", READ), web::get().to(tags::list), web::head().to(tags::list)))
        .service(
            readable(
                api("/{name:.+}/manifests/{reference}", "GET, HEAD, PUT, DELETE"),
                web::get().to(manifests::get),
                web::head().to(manifests::head),
            )
            .route(web::put().to(manifests::put))
            .route(web::delete().to(manifests::delete)),
        )
        .service(api("/{name:.+}/blobs/uploads", "POST").route(web::post().to(uploads::post)))
        .service(api("/{name:.+}/blobs/uploads/", "POST").route(web::post().to(uploads::post)))
        .service(
            api("/{name:.+}/blobs/uploads/{session}", "GET, HEAD, PATCH, PUT, DELETE")
                .route(web::get().to(uploads::get))
                .route(web::head().to(uploads::get))
                .route(web::patch().to(uploads::patch))
                .route(web::put().to(uploads::put))
                .route(web::delete().to(uploads::delete)),
        )
        .service(
            readable(
                api("/{name:.+}/blobs/{digest}", "GET, HEAD, DELETE"),
                web::get().to(blobs::get),
                web::head().to(blobs::head),
            )
            .route(web::delete().to(blobs::delete)),
        )
        .service(readable(
            api("/{name:.+}/referrers/{digest}", READ),
            web::get().to(referrers::list),
            web::head().to(referrers::list),
        ))
        .service(
            resource(format!("{prefix}token"), "GET, POST")
                .route(web::get().to(token::get))
                .route(web::post().to(token::post)),
        )
        .default_service(web::route().to(no_such_path));
}

const READ: &str = "GET, HEAD";

/// Returns a resource that lists its methods for OPTIONS and for unsupported methods. Browsers send OPTIONS before a
/// DELETE.
fn resource(path: String, allow: &'static str) -> Resource {
    let options = move || async move { HttpResponse::Ok().insert_header((header::ALLOW, allow)).finish() };
    let unsupported = move || async move { Err::<HttpResponse, _>(ApiError::unsupported(allow)) };
    web::resource(path).route(web::method(Method::OPTIONS).to(options)).default_service(web::route().to(unsupported))
}

fn readable(resource: Resource, get: Route, head: Route) -> Resource {
    resource.route(get).route(head)
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).finish()
}

async fn no_such_path() -> Result<HttpResponse, ApiError> {
    Err(ApiError::no_such_path())
}
