//! The metrics endpoint, in the Prometheus text format.

use actix_web::{HttpRequest, HttpResponse, http::header, web};

use crate::{
    http::{auth::authorize, context::State, errors::ApiError},
    lanes::Lane,
    metrics::TEXT,
};

/// The metrics' path on the main listener.
pub(in crate::http) const PATH: &str = "/metrics";

/// Serves the metrics at `path`.
pub(in crate::http) fn configure(service: &mut web::ServiceConfig, path: &str) {
    service.service(web::resource(path).route(web::get().to(get)).route(web::head().to(get)));
}

/// Requires a user if access control is configured: the metrics name upstreams and reveal activity.
async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    authorize::is_user(&request)?;
    let scraped = registry.clone().lanes().run(Lane::Probe, move |io| registry.scrape(io)).await;
    Ok(match scraped {
        Ok(Ok(text)) => HttpResponse::Ok().insert_header((header::CONTENT_TYPE, TEXT)).body(text),
        Ok(Err(error)) => {
            tracing::error!(%error, "metrics could not be written");
            HttpResponse::InternalServerError().finish()
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    })
}
