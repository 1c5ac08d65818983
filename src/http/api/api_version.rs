//! `GET /v2/` (end-1): the API version check.

use actix_web::{HttpRequest, HttpResponse, http::header};

use crate::http::{auth::authorize, errors::ApiError, headers::API_VERSION};

/// Answers 200 to identified callers. Clients decide by this response alone to send credentials, so without users there
/// is never a challenge: on a mirror, clients would answer it with their Docker Hub password.
pub(in crate::http) async fn get(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    authorize::identified(&request)?;
    let content = header::ContentType::json();
    Ok(HttpResponse::Ok().insert_header(API_VERSION).insert_header(content).body("{}"))
}
