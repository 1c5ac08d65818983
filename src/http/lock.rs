//! A door that opens for nobody: `auth.htpasswd` without a file of users. What is asked for a password that nobody has must
//! not stand open instead.

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
};

use super::{errors::Refusal, extract, health};

/// Answers 401, where the door is locked.
pub(super) async fn keep(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let locked = extract::settings(request.request()).locked.as_ref();
    let Some(realm) = locked.filter(|_| !health::is_probe(request.path())) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let challenge = format!("Basic realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\""));
    let mut response: HttpResponse = actix_web::ResponseError::error_response(&Refusal::unauthorized());
    if let Ok(value) = header::HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    Ok(request.into_response(response))
}
