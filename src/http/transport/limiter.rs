//! The limits of `http.limits` with their counters, and the error responses for clients that exceed them.

use std::{net::IpAddr, sync::Arc, time::Instant};

use actix_web::{HttpRequest, web};

use super::{
    connection_limit::ConnectionLimit,
    rate_limit::RateLimit,
    throttled_log::ThrottledLog,
    upload_limit::{UploadLimit, UploadPermit, Uploader},
};
use crate::http::{errors::ApiError, settings::RequestLimits};

/// The limits and their counters; all listeners share one.
#[derive(Debug)]
pub(in crate::http) struct Limiter {
    pub(in crate::http) limits: RequestLimits,
    pub(in crate::http) connections: Arc<ConnectionLimit>,
    pub(in crate::http) uploads: UploadLimit,
    pub(in crate::http) late_heads: ThrottledLog,
    pub(in crate::http) unread: ThrottledLog,
    pub(in crate::http) left_over: ThrottledLog,
    pub(in crate::http) full: ThrottledLog,
    pub(in crate::http) stalled: ThrottledLog,
    pub(in crate::http) large: ThrottledLog,
    pub(in crate::http) guesses: ThrottledLog,
    rate: RateLimit,
    refused: ThrottledLog,
}

impl Limiter {
    pub(in crate::http) fn new(limits: RequestLimits) -> Self {
        Self {
            connections: Arc::new(ConnectionLimit::new(limits.connections, limits.per_address)),
            uploads: UploadLimit::new(limits.uploads),
            rate: RateLimit::new(limits.rate),
            late_heads: ThrottledLog::default(),
            unread: ThrottledLog::default(),
            left_over: ThrottledLog::default(),
            full: ThrottledLog::default(),
            stalled: ThrottledLog::default(),
            large: ThrottledLog::default(),
            guesses: ThrottledLog::default(),
            refused: ThrottledLog::default(),
            limits,
        }
    }

    pub(in crate::http) fn check(&self, request: &HttpRequest, client: IpAddr) -> Result<(), ApiError> {
        if let Err(wait) = self.rate.take(client, Instant::now()) {
            self.refused.warn(&format!("{client} asks more often than http.limits.rate allows"));
            return Err(ApiError::too_often(wait));
        }
        let Some(most) = self.limits.headers else { return Ok(()) };
        let length = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if length > most {
            self.refused.warn(&format!("{client} sent {length} bytes of headers: http.limits.headers is {most}"));
            return Err(ApiError::headers_size(most));
        }
        Ok(())
    }

    /// Returns the error for a request that exceeds the concurrent streams of an HTTP/2 connection.
    pub(in crate::http) fn refuse_stream(&self, client: IpAddr) -> ApiError {
        self.refused.warn(&format!("{client} asks for more at once than a connection of HTTP/2 may"));
        ApiError::too_many_streams()
    }

    /// Reserves an upload for `client`.
    ///
    /// # Errors
    /// An [`ApiError`] with 429 if the client has too many open uploads.
    pub(in crate::http) fn begin_upload(&self, client: &Uploader) -> Result<UploadPermit<'_>, ApiError> {
        self.uploads.begin(client.clone()).ok_or_else(|| {
            self.refused.warn(&format!("{client} has begun as many uploads as http.limits.uploads allows"));
            ApiError::too_many_uploads()
        })
    }
}

/// Returns the limiter of the server that received the request.
pub(in crate::http) fn limiter(request: &HttpRequest) -> Option<&Limiter> {
    request.app_data::<web::Data<Limiter>>().map(web::Data::get_ref)
}

/// Logs that a request exceeded a limit, if there is a limiter.
pub(in crate::http) fn warn(request: &HttpRequest, of: fn(&Limiter) -> &ThrottledLog, what: &str) {
    if let Some(limiter) = limiter(request) {
        of(limiter).warn(what);
    }
}
