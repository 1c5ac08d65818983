//! One question to an upstream, to the end of its answer's head: authorization, redirects, and what a status means.

use std::cell::Cell;

use awc::http::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    Client, Error, Phase, Remote,
    address_policy::AddressPolicy,
    body::excerpt,
    challenge::Challenge,
    client::{Request, Response},
    headers::retry_after,
    remote,
    token::Authorization,
};
use crate::{metrics::Content, oci::RepositoryName};

const MOST_REDIRECTS: usize = 5;
/// An upstream's own words are kept this short.
const LONGEST_MESSAGE: usize = 200;
/// A longer word may be a token or a signature.
const LONGEST_WORD: usize = 40;

/// A question about one repository.
pub(super) struct UpstreamRequest<'a> {
    pub(super) remote: &'a Remote,
    pub(super) name: &'a RepositoryName,
    /// What is asked for.
    pub(super) content: Content,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// A header for one host only, wherever a redirect leads.
    pub(super) host_header: Option<(&'a str, HeaderName, HeaderValue)>,
    /// Whether redirects are followed; if not, they are errors by their status.
    pub(super) follow: bool,
    /// Whether whoever asks has a turn for the whole of a large answer, and needs none to ask.
    pub(super) has_turn: bool,
}

/// A response with a status of success.
pub(super) struct UpstreamResponse {
    pub(super) response: Response,
    /// Where it came from in the end.
    pub(super) url: Url,
}

impl Client {
    /// Asks, and gives the answer's head, if it is one of success.
    pub(super) async fn ask(&self, question: &UpstreamRequest<'_>) -> Result<UpstreamResponse, Error> {
        let answer = self.ask_for_any(question).await?;
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        let own = question.remote.is_own(&answer.url);
        Err(match failure(answer.response).await {
            Error::Denied(_) if !own => Error::Status { code: 403, message: " from where it redirects to".into() },
            error => error,
        })
    }

    /// Asks, and gives the answer's head whatever its status.
    pub(super) async fn ask_for_any(&self, question: &UpstreamRequest<'_>) -> Result<UpstreamResponse, Error> {
        // Waiting for it is not the upstream's silence.
        let _turn = if question.has_turn { None } else { Some(question.remote.turns().head().await?) };
        let (phase, began) = (Cell::new(Phase::Head), Instant::now());
        let asked = timeout(question.remote.timeouts().head, self.follow(question, &phase)).await;
        let answer = asked.unwrap_or_else(|_| Err(Error::Timeout { phase: phase.get() }));
        question.remote.count(question.content, question.method.as_str(), &answer, began.elapsed());
        answer
    }

    async fn follow(&self, question: &UpstreamRequest<'_>, phase: &Cell<Phase>) -> Result<UpstreamResponse, Error> {
        let mut url = question.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.hop(question, &url, phase).await?;
            if !question.follow || !is_redirect(response.status()) {
                return Ok(UpstreamResponse { response, url });
            }
            url = location(&response, &url)?;
            excerpt(response).await;
        }
        Err(Error::Redirect(format!("more than {MOST_REDIRECTS} times")))
    }

    /// One request, and at the upstream itself a second one if the first was challenged.
    async fn hop(&self, question: &UpstreamRequest<'_>, url: &Url, phase: &Cell<Phase>) -> Result<Response, Error> {
        let remote = question.remote;
        if !remote.is_own(url) {
            return self.send(&question.request(url, self.reach(remote, url).await, None)).await;
        }
        let pass = Authorization::known(remote, question.name);
        let response = self.send_own(question, url, &pass).await?;
        if !asks_for_a_pass(&response, &pass) {
            return Ok(response);
        }
        let challenges = challenges(&response);
        phase.set(Phase::Token);
        let answer = self.answer(remote, question.name, &challenges, &pass).await?;
        phase.set(Phase::Head);
        let Some(pass) = answer else { return Ok(response) };
        excerpt(response).await;
        self.send_own(question, url, &pass).await
    }

    async fn send_own(
        &self,
        question: &UpstreamRequest<'_>,
        url: &Url,
        pass: &Authorization,
    ) -> Result<Response, Error> {
        let authorization = pass.header(question.remote);
        let response = self.send(&question.request(url, AddressPolicy::ANYWHERE, authorization)).await?;
        question.remote.note_budget(response.headers());
        Ok(response)
    }
}

impl UpstreamRequest<'_> {
    fn request(&self, url: &Url, reach: AddressPolicy, authorization: Option<HeaderValue>) -> Request {
        let host = url.host_str();
        let for_host = self.host_header.iter().filter(|(only, ..)| host == Some(only));
        let for_host = for_host.map(|(_, name, value)| (name.clone(), value.clone()));
        let authorization = authorization.map(|value| (AUTHORIZATION, value));
        Request {
            method: self.method.clone(),
            url: url.clone(),
            headers: self.headers.iter().cloned().chain(for_host).chain(authorization).collect(),
            reach,
            connect: self.remote.timeouts().connect,
        }
    }
}

/// A 401; or a 403 to a token from the cache, when it comes with a challenge.
fn asks_for_a_pass(response: &Response, pass: &Authorization) -> bool {
    let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
    match response.status() {
        StatusCode::UNAUTHORIZED => challenged,
        StatusCode::FORBIDDEN => challenged && matches!(pass, Authorization::Bearer(_)),
        _ => false,
    }
}

fn challenges(response: &Response) -> Vec<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE);
    headers.filter_map(|header| header.to_str().ok()).flat_map(Challenge::parse).collect()
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn location(response: &Response, from: &Url) -> Result<Url, Error> {
    let unfit = || Error::Redirect("without a usable Location".into());
    let text = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).ok_or_else(unfit)?;
    let mut url = from.join(text).map_err(|_| unfit())?;
    remote::strip(&mut url);
    match (from.scheme(), url.scheme()) {
        _ if !remote::is_http(&url) => Err(unfit()),
        ("https", "http") => Err(Error::Redirect(format!("from https to http at {}", url.host_str().unwrap_or("?")))),
        _ => Ok(url),
    }
}

/// What a status that is not one of success means; reads the body for its words.
pub(super) async fn failure(response: Response) -> Error {
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let said = ErrorBody::read(&excerpt(response).await);
    match status {
        StatusCode::NOT_FOUND => Error::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::Denied(format!("{}{}", status.as_u16(), said.after()))
        }
        StatusCode::TOO_MANY_REQUESTS => Error::TooMany { retry_after, message: said.message },
        status if status.is_client_error() && said.unknown => Error::NotFound,
        status => Error::Status { code: status.as_u16(), message: said.after() },
    }
}

/// An error body, as far as it matters.
#[derive(Default)]
struct ErrorBody {
    message: String,
    /// Its code is one of those that mean "not found".
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
    /// The spec's JSON, or the first line of a text.
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

/// Printable, short, and without any word long enough to be a secret.
fn shorten(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words = words.map(|word| if word.len() > LONGEST_WORD { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_read_for_its_words() {
        let said = ErrorBody::read(br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such  thing\n"}]}"#);
        assert_eq!((said.message.as_str(), said.unknown), ("no such thing", true));
        let said = ErrorBody::read(b"Too Many Requests (HAP429).\nsecond");
        assert_eq!((said.message.as_str(), said.unknown), ("Too Many Requests (HAP429).", false));
        assert_eq!(ErrorBody::read(b"<Error>secret</Error>").message, "");
        assert_eq!(ErrorBody::read(&[0xff, 0xfe]).after(), ": \u{fffd}\u{fffd}");
        assert_eq!(ErrorBody::read(b"").after(), "");
    }

    #[test]
    fn a_long_word_is_not_repeated() {
        let token = "x".repeat(41);
        assert_eq!(shorten(&format!("bad token {token} given")), "bad token … given");
    }
}
