//! Parses the bodies of error responses.

use awc::http::StatusCode;
use serde::Deserialize;

use super::{Error, body::excerpt, client::Response, headers::retry_after};

/// The maximum length of an upstream's message.
const MAX_MESSAGE_CHARS: usize = 200;

/// A longer word may be a token or a signature, and is removed.
const MAX_WORD_CHARS: usize = 40;

/// Converts a response that is not a success to an error, with the message of its body.
pub(super) async fn failure(response: Response) -> Error {
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let said = ErrorBody::read(&excerpt(response).await);
    match status {
        StatusCode::NOT_FOUND => Error::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::Denied(format!("{}{}", status.as_u16(), said.after()))
        }
        StatusCode::TOO_MANY_REQUESTS => Error::RateLimited { retry_after, message: said.message },
        status if status.is_client_error() && said.unknown => Error::NotFound,
        status => Error::Status { code: status.as_u16(), message: said.after() },
    }
}

/// The relevant parts of an error body.
#[derive(Default)]
struct ErrorBody {
    message: String,
    /// Set if its code is one of those that mean "not found".
    unknown: bool,
}

#[derive(Deserialize)]
struct ErrorsDocument {
    #[serde(alias = "details")]
    errors: Option<Vec<ErrorItem>>,
}

#[derive(Deserialize)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

impl ErrorBody {
    /// Parses the JSON of the distribution spec, or takes the first line of a text.
    fn read(body: &[u8]) -> Self {
        if let Ok(ErrorsDocument { errors: Some(errors) }) = serde_json::from_slice(body) {
            let Some(first) = errors.into_iter().next() else { return Self::default() };
            let code = first.code.unwrap_or_default();
            let unknown = matches!(code.as_str(), "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN");
            return Self { message: shorten(&first.message.unwrap_or(code)), unknown };
        }
        let text = String::from_utf8_lossy(body);
        let line = text.trim_start().lines().next().unwrap_or_default();
        let is_text = !line.starts_with(['<', '{', '[']);
        Self { message: if is_text { shorten(line) } else { String::new() }, unknown: false }
    }

    fn after(&self) -> String {
        if self.message.is_empty() { String::new() } else { format!(": {}", self.message) }
    }
}

/// Returns a printable, short text without any word long enough to be a secret.
fn shorten(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words = words.map(|word| if word.len() > MAX_WORD_CHARS { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_parsed() {
        let said = ErrorBody::read(br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such  thing\n"}]}"#);
        assert_eq!((said.message.as_str(), said.unknown), ("no such thing", true));
        let said = ErrorBody::read(b"Too Many Requests (HAP429).\nsecond");
        assert_eq!((said.message.as_str(), said.unknown), ("Too Many Requests (HAP429).", false));
        assert_eq!(ErrorBody::read(b"<Error>secret</Error>").message, "");
        assert_eq!(ErrorBody::read(&[0xff, 0xfe]).after(), ": \u{fffd}\u{fffd}");
        assert_eq!(ErrorBody::read(b"").after(), "");
    }

    #[test]
    fn a_long_error_body_is_not_repeated() {
        let token = "x".repeat(41);
        assert_eq!(shorten(&format!("bad token {token} given")), "bad token … given");
    }
}
