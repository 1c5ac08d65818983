//! The metrics of requests to an upstream.

use std::time::Duration;

use awc::http::StatusCode;

use super::{Error, Remote, request::UpstreamResponse};
use crate::metrics::{Content, LabelledCounter, UpstreamResult};

impl Remote {
    /// Counts a request that was answered or failed.
    pub(super) fn count(
        &self,
        content: Content,
        method: &str,
        answer: &Result<UpstreamResponse, Error>,
        took: Duration,
    ) {
        if let Some(metrics) = self.metrics() {
            metrics.asked(self.domain(), content, method, outcome(answer), took);
        }
    }

    /// Returns the counter for the bytes that the upstream sends.
    pub(super) fn fetched(&self, content: Content) -> Option<LabelledCounter> {
        self.metrics().map(|metrics| metrics.fetched(self.domain(), content))
    }

    /// Counts content whose bytes do not have the requested digest.
    pub(super) fn count_mismatch(&self, content: Content) {
        if let Some(metrics) = self.metrics() {
            metrics.mismatched(self.domain(), content);
        }
    }
}

fn outcome(answer: &Result<UpstreamResponse, Error>) -> UpstreamResult {
    match answer {
        Ok(answer) => of_status(answer.response.status()),
        Err(Error::NotFound) => UpstreamResult::NotFound,
        Err(Error::Denied(_) | Error::Login(_)) => UpstreamResult::Denied,
        Err(Error::RateLimited { .. }) => UpstreamResult::RateLimited,
        Err(Error::Status { code, .. }) if *code >= 500 => UpstreamResult::ServerError,
        Err(Error::Status { .. }) => UpstreamResult::ClientError,
        Err(Error::Timeout { .. }) => UpstreamResult::Timeout,
        Err(Error::Unreachable(_) | Error::Cut { .. }) => UpstreamResult::Unreachable,
        Err(_) => UpstreamResult::Protocol,
    }
}

/// A redirect that is not followed counts as an answer too.
fn of_status(status: StatusCode) -> UpstreamResult {
    match status.as_u16() {
        ..400 => UpstreamResult::Ok,
        401 | 403 => UpstreamResult::Denied,
        404 => UpstreamResult::NotFound,
        429 => UpstreamResult::RateLimited,
        400..500 => UpstreamResult::ClientError,
        _ => UpstreamResult::ServerError,
    }
}
