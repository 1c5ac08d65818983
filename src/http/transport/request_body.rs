//! Request bodies: reads a chunk within a time limit, collects a body that must fit in memory, and drains one that is
//! refused.

use std::time::Duration;

use actix_web::{HttpRequest, error::PayloadError, web::Payload};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::limiter;
use crate::http::{context, errors::ApiError};

/// Returns the next chunk of a body, or an error if it does not arrive within `http.limits.bodypause`.
pub(in crate::http) async fn piece(
    request: &HttpRequest,
    body: &mut Payload,
) -> Result<Option<Result<Bytes, PayloadError>>, ApiError> {
    let Some(pause) = context::settings(request).limits.body_pause else { return Ok(body.next().await) };
    tokio::time::timeout(pause, body.next()).await.map_err(|_| {
        let what = "a client sent nothing of a body for http.limits.bodypause: it is let go";
        limiter::warn(request, |limiter| &limiter.stalled, what);
        ApiError::stalled()
    })
}

/// Returns the whole body, or `None` if it has more than `most` bytes.
pub(in crate::http) async fn collect(
    request: &HttpRequest,
    mut body: Payload,
    most: usize,
) -> Result<Option<Bytes>, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = piece(request, &mut body).await? {
        let piece = piece.map_err(|_| ApiError::cut())?;
        if bytes.len() + piece.len() > most {
            drain(body).await;
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes.freeze()))
}

/// Reads the rest of a refused body, up to a bound: closing a connection with unread bytes resets it, and the client
/// may lose the response.
pub(in crate::http) async fn drain(mut body: Payload) {
    const MAX_DISCARDED_BYTES: usize = 16 << 20;
    let mut read = 0;
    while let Ok(Some(Ok(bytes))) = tokio::time::timeout(Duration::from_secs(5), body.next()).await {
        read += bytes.len();
        if read > MAX_DISCARDED_BYTES {
            return;
        }
    }
}
