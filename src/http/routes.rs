//! Every path of the API: distribution-spec, "Endpoints".

use actix_web::{HttpResponse, web};

use super::{base, blobs, errors::Refusal, manifests, referrers, tags};

/// Adds the API's paths.
pub(super) fn configure(service: &mut web::ServiceConfig) {
    service
        .service(read_only("/v2", web::get().to(base::get), web::head().to(base::get)))
        .service(read_only("/v2/", web::get().to(base::get), web::head().to(base::get)))
        .service(read_only("/v2/{name:.+}/tags/list", web::get().to(tags::list), web::head().to(tags::list)))
        .service(read_only(
            "/v2/{name:.+}/manifests/{reference}",
            web::get().to(manifests::get),
            web::head().to(manifests::head),
        ))
        .service(read_only("/v2/{name:.+}/blobs/{digest}", web::get().to(blobs::get), web::head().to(blobs::head)))
        .service(read_only(
            "/v2/{name:.+}/referrers/{digest}",
            web::get().to(referrers::list),
            web::head().to(referrers::list),
        ))
        .service(web::resource("/v2/{name:.+}/blobs/uploads{session:.*}").route(web::route().to(unsupported)))
        .default_service(web::route().to(no_such_path));
}

/// A resource that can be read. Whatever else is done to it is UNSUPPORTED.
fn read_only(path: &str, get: actix_web::Route, head: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(get).route(head).default_service(web::route().to(unsupported))
}

async fn unsupported() -> Result<HttpResponse, Refusal> {
    Err(Refusal::unsupported())
}

async fn no_such_path() -> Result<HttpResponse, Refusal> {
    Err(Refusal::no_such_path())
}
