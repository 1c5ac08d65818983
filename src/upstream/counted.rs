//! What is counted of the questions to an upstream.

use std::time::Duration;

use awc::http::StatusCode;

use super::{Error, Remote, exchange::Answer};
use crate::metrics::{Content, Outcome, Tally};

impl Remote {
    /// A question has been answered, or not.
    pub(super) fn count(&self, content: Content, method: &str, answer: &Result<Answer, Error>, took: Duration) {
        if let Some(metrics) = self.metrics() {
            metrics.asked(self.domain(), content, method, outcome(answer), took);
        }
    }

    /// Where the bytes are counted that it sends.
    pub(super) fn fetched(&self, content: Content) -> Option<Tally> {
        self.metrics().map(|metrics| metrics.fetched(self.domain(), content))
    }

    /// It sent bytes that are not what they were asked for.
    pub(super) fn count_mismatch(&self, content: Content) {
        if let Some(metrics) = self.metrics() {
            metrics.mismatched(self.domain(), content);
        }
    }
}

fn outcome(answer: &Result<Answer, Error>) -> Outcome {
    match answer {
        Ok(answer) => of_status(answer.response.status()),
        Err(Error::NotFound) => Outcome::NotFound,
        Err(Error::Denied(_) | Error::Login(_)) => Outcome::Denied,
        Err(Error::TooMany { .. }) => Outcome::TooMany,
        Err(Error::Status { code, .. }) if *code >= 500 => Outcome::ServerError,
        Err(Error::Status { .. }) => Outcome::ClientError,
        Err(Error::Timeout { .. }) => Outcome::Timeout,
        Err(Error::Unreachable(_) | Error::Cut { .. }) => Outcome::Unreachable,
        Err(_) => Outcome::Protocol,
    }
}

/// A redirect that is not followed is an answer too.
fn of_status(status: StatusCode) -> Outcome {
    match status.as_u16() {
        ..400 => Outcome::Ok,
        401 | 403 => Outcome::Denied,
        404 => Outcome::NotFound,
        429 => Outcome::TooMany,
        400..500 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}
