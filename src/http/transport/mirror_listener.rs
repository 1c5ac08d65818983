//! Which of this server's addresses a request came to, and what the mirror's own lets pass: what is mirrored, to be read.
//!
//! dockerd answers a challenge on a mirror with its user's Docker Hub password. So nothing here challenges, and nothing
//! looks at credentials: whoever may reach this door may read what is mirrored.

use actix_web::{
    Error, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
};

use crate::http::errors::ApiError;

/// The mirror's door: reads alone, and without what says who is asking.
pub(in crate::http) async fn allow_reads(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = ApiError::read_only().error_response();
        return Ok(request.into_response(refused));
    }
    // What is not there cannot be believed, passed on or logged, whatever is built behind this door.
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
        request.headers_mut().remove(name);
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    response.headers_mut().remove(header::WWW_AUTHENTICATE);
    Ok(response)
}
