//! `GET /v2/` (end-1): is this a registry?

use actix_web::{HttpRequest, HttpResponse, http::header};

use crate::http::{auth::authorize, errors::ApiError, headers::API_VERSION};

/// Says yes to whom it knows: clients decide by this answer alone whether to say who they are. Never a challenge where there
/// are no users: clients would answer one, on a mirror, with their Docker Hub password.
pub(in crate::http) async fn get(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    authorize::identified(&request)?;
    let content = header::ContentType::json();
    Ok(HttpResponse::Ok().insert_header(API_VERSION).insert_header(content).body("{}"))
}
