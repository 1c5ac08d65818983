//! `/`: the page for browsers. Helm charts and load balancers probe it, and registry:2 answers them 200 with an empty
//! body.

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::overview;
use crate::http::{
    context::{self, State},
    errors::ApiError,
};

/// Answers a browser with the overview, and all others with an empty body.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    if context::is_browser(&request) {
        return overview::get(registry, request).await;
    }
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).finish())
}
