//! The mirror listener's middleware: it allows reads only, and removes credentials.
//!
//! dockerd answers a challenge from a mirror with its user's Docker Hub password. Therefore this listener never sends a
//! challenge and never reads credentials: every client that can connect may read what is mirrored.

use actix_web::{
    Error, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
};

use crate::http::errors::ApiError;

/// Refuses all methods but GET and HEAD, and strips credentials and challenges.
pub(in crate::http) async fn allow_reads(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = ApiError::read_only().error_response();
        return Ok(request.into_response(refused));
    }
    // A removed header cannot be trusted, forwarded or logged by any handler.
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
        request.headers_mut().remove(name);
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    Ok(response)
}
