//! The access log: one line for each request, to the log target `access`. `log.accesslog.disabled` turns it off.

use std::time::Instant;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
};

use crate::http::{paths, transport::forwarded::client_address};

/// Writes the line when the response's head is known. Probes are frequent and logged at debug level only. The query is
/// never logged, because it may contain secrets.
pub(in crate::http) async fn write(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let response = next.call(request).await?;
    let request = response.request();
    if paths::is_probe(request.path()) {
        tracing::debug!(target: "access", path = request.path(), status = response.status().as_u16());
        return Ok(response);
    }
    let header = |name| request.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    tracing::info!(
        target: "access",
        remote = %client_address(request),
        method = %request.method(),
        path = request.path(),
        status = response.status().as_u16(),
        cache = response.headers().get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or_default(),
        range = header(header::RANGE).unwrap_or_default(),
        agent = header(header::USER_AGENT).unwrap_or_default(),
        ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    );
    Ok(response)
}
