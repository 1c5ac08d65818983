//! Is it alive, and can it work: what probes ask, without a password and without a line in the log.

use actix_web::{HttpResponse, http::header::ContentType, web};

use super::extract::State;
use crate::lanes::Lane;

pub(super) const ALIVE: &str = "/healthz";
pub(super) const READY: &str = "/readyz";

/// Whether a path is a probe's.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, ALIVE | READY)
}

pub(super) fn configure(service: &mut web::ServiceConfig) {
    let probe = |path| web::resource(path);
    service
        .service(probe(ALIVE).route(web::get().to(alive)).route(web::head().to(alive)))
        .service(probe(READY).route(web::get().to(ready)).route(web::head().to(ready)));
}

/// It answers, so it lives.
async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::plaintext()).body("alive\n")
}

/// Whether it can be sent requests. What is missing is in the log.
async fn ready(registry: State) -> HttpResponse {
    let found = registry.clone().lanes().run(Lane::Probe, move || registry.ready()).await;
    match found {
        Ok(Ok(())) => HttpResponse::Ok().insert_header(ContentType::plaintext()).body("ready\n"),
        Ok(Err(error)) => {
            tracing::error!("not ready: {error}");
            unready()
        }
        Err(_) => unready(),
    }
}

fn unready() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header(ContentType::plaintext()).body("storage takes no writes\n")
}

/// `/debug/health`, as `registry:2` answers it: what is wrong, by name, and that is nothing.
pub(super) async fn debug(registry: State) -> HttpResponse {
    let found = registry.clone().lanes().run(Lane::Probe, move || registry.ready()).await;
    match found {
        Ok(Ok(())) => HttpResponse::Ok().json(serde_json::json!({})),
        _ => HttpResponse::ServiceUnavailable().json(serde_json::json!({ "storage": "storage takes no writes" })),
    }
}
