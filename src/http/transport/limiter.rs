//! What `http.limits` counts for one listener's clients, and the refusals.

use std::{net::IpAddr, sync::Arc, time::Instant};

use actix_web::{HttpRequest, web};

use super::{
    connection_limit::ConnectionLimit,
    rate_limit::RateLimit,
    throttled_log::ThrottledLog,
    upload_limit::{UploadLimit, UploadPermit, Uploader},
};
use crate::http::{errors::ApiError, settings::RequestLimits};

/// The limits and all that is counted for them; one for all doors.
#[derive(Debug)]
pub(in crate::http) struct Limiter {
    pub(in crate::http) limits: RequestLimits,
    pub(in crate::http) gate: Arc<ConnectionLimit>,
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
            gate: Arc::new(ConnectionLimit::new(limits.connections, limits.per_address)),
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
            self.refused.tell(&format!("{client} asks more often than http.limits.rate allows"));
            return Err(ApiError::too_often(wait));
        }
        let Some(most) = self.limits.headers else { return Ok(()) };
        let length = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if length > most {
            self.refused.tell(&format!("{client} sent {length} bytes of headers: http.limits.headers is {most}"));
            return Err(ApiError::headers_size(most));
        }
        Ok(())
    }

    /// The refusal of one more request on a connection that has too many under way.
    pub(in crate::http) fn refuse_stream(&self, client: IpAddr) -> ApiError {
        self.refused.tell(&format!("{client} asks for more at once than a connection of HTTP/2 may"));
        ApiError::too_many_streams()
    }

    /// Room for an upload of `client`'s.
    ///
    /// # Errors
    /// The refusal to send.
    pub(in crate::http) fn begin_upload(&self, client: &Uploader) -> Result<UploadPermit<'_>, ApiError> {
        self.uploads.begin(client.clone()).ok_or_else(|| {
            self.refused.tell(&format!("{client} has begun as many uploads as http.limits.uploads allows"));
            ApiError::too_many_uploads()
        })
    }
}

/// The limits of the server a request came to.
pub(in crate::http) fn limiter(request: &HttpRequest) -> Option<&Limiter> {
    request.app_data::<web::Data<Limiter>>().map(web::Data::get_ref)
}

/// Tells of a limit that a request ran into, where there are limits.
pub(in crate::http) fn tell(request: &HttpRequest, of: fn(&Limiter) -> &ThrottledLog, what: &str) {
    if let Some(limiter) = limiter(request) {
        of(limiter).tell(what);
    }
}
