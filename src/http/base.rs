//! `GET /v2/` (end-1): is this a registry?

use actix_web::{HttpResponse, http::header};

use super::headers::API_VERSION;

/// Says yes. Never a challenge: clients would answer one, on a mirror, with their Docker Hub password.
pub(super) async fn get() -> HttpResponse {
    let content = header::ContentType::json();
    HttpResponse::Ok().insert_header(API_VERSION).insert_header(content).body("{}")
}
