//! What Prometheus scrapes.

use actix_web::{HttpResponse, http::header, web};
use tokio::task::spawn_blocking;

use super::extract::State;
use crate::metrics::TEXT;

/// Where they are on the main port.
pub(super) const PATH: &str = "/metrics";

/// Serves them at `path`.
pub(super) fn configure(service: &mut web::ServiceConfig, path: &str) {
    service.service(web::resource(path).route(web::get().to(get)).route(web::head().to(get)));
}

async fn get(registry: State) -> HttpResponse {
    match spawn_blocking(move || registry.scrape()).await {
        Ok(Ok(text)) => HttpResponse::Ok().insert_header((header::CONTENT_TYPE, TEXT)).body(text),
        Ok(Err(error)) => {
            tracing::error!("{error}");
            HttpResponse::InternalServerError().finish()
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
