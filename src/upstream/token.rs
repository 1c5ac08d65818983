//! Bearer tokens: requested once for all concurrent requests, cached until shortly before they expire, renewed once on
//! a 401.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use awc::http::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::Deserialize;
use url::Url;

use super::{
    Client, Credentials, Error, Remote,
    body::ResponseBody,
    challenge::Challenge,
    client::{Request, Response},
};
use super::{error_body, token_cache::Token, urls};
use crate::oci::RepositoryName;

const MAX_RESPONSE_BYTES: u64 = 1 << 20;
/// The lifetime in seconds of a token without `expires_in` (distribution's token specification).
const DEFAULT_LIFETIME_SECS: u64 = 60;
const MAX_LIFETIME_SECS: u64 = 24 * 3600;

/// The content of the `Authorization` header.
pub(super) enum Authorization {
    /// None, or none yet.
    None,
    Basic(Credentials),
    Bearer(Arc<Token>),
}

impl Authorization {
    /// Returns the authorization to send before a challenge: the one that an earlier challenge asked for.
    pub(super) fn known(remote: &Remote, name: &RepositoryName) -> Self {
        match remote.tokens().fresh(name) {
            Some(token) => Self::Bearer(token),
            None => remote.credentials().filter(|_| remote.wants_basic()).map_or(Self::None, Self::Basic),
        }
    }

    /// Returns the header, marked as sensitive to keep it out of debug output.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::None => return None,
            Self::Basic(credentials) => credentials.basic(),
            Self::Bearer(token) => format!("Bearer {}", token.value),
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn refused(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Bearer(token) => Some(token),
            Self::None | Self::Basic(_) => None,
        }
    }
}

impl Client {
    /// Answers a challenge with an authorization that was not refused yet; `None` if there is none.
    pub(super) async fn answer(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        challenges: &[Challenge],
        refused: &Authorization,
    ) -> Result<Option<Authorization>, Error> {
        let of = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(bearer) = of("bearer") {
            let fetch = self.fetch_token(remote, name, bearer);
            let token = remote.tokens().slot(name).renew(refused.refused(), fetch).await?;
            return Ok(Some(Authorization::Bearer(token)));
        }
        if of("basic").is_none() {
            return Ok(None);
        }
        let sent = if let Authorization::Basic(credentials) = refused { Some(credentials) } else { None };
        // A helper may print another password than the one that was refused.
        sent.iter().for_each(|credentials| remote.account().refuse(credentials));
        let current = remote.account().current().await?;
        let Some(credentials) = current.filter(|current| Some(current) != sent) else { return Ok(None) };
        remote.remember_basic();
        Ok(Some(Authorization::Basic(credentials)))
    }

    async fn fetch_token(&self, remote: &Remote, name: &RepositoryName, bearer: &Challenge) -> Result<Token, Error> {
        let asked = Instant::now();
        let mut request = self.token_request(remote, name, bearer).await?;
        let mut response = self.send(&request).await?;
        if is_refused(&request, &response) {
            remote.credentials().iter().for_each(|credentials| remote.account().refuse(credentials));
            // A helper may print another password than the one that was refused.
            let refused = std::mem::replace(&mut request, self.token_request(remote, name, bearer).await?);
            if request.headers != refused.headers {
                response = self.send(&request).await?;
            }
        }
        if is_refused(&request, &response) {
            return Err(Error::Login(request.url.host_str().unwrap_or_default().to_owned()));
        }
        if response.status() != StatusCode::OK {
            return Err(refusal(&request.url, response).await);
        }
        let stall = remote.timeouts().head;
        let body = ResponseBody::new(response)?.collect(MAX_RESPONSE_BYTES, stall).await?;
        parse(&body, asked)
    }

    /// Always requests to pull this repository: the scope of a challenge may be a placeholder (ghcr.io's is).
    async fn token_request(
        &self,
        remote: &Remote,
        name: &RepositoryName,
        bearer: &Challenge,
    ) -> Result<Request, Error> {
        let mut url = realm(remote, bearer)?;
        let entitled = remote.entitles(&url);
        if !entitled {
            remote.warn_of(&url);
        }
        if !remote.asks(&url) {
            let origin = url.origin().ascii_serialization();
            return Err(Error::Token(format!("{origin} is on another domain: if it is right, set proxy.realm to it")));
        }
        let credentials = if entitled { remote.account().current().await? } else { None };
        let service = bearer.param("service").map(|service| ("service", service));
        let scope = format!("repository:{name}:pull");
        url.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
        let authorization = credentials.and_then(|credentials| HeaderValue::try_from(credentials.basic()).ok());
        Ok(Request {
            method: Method::GET,
            address_policy: self.address_policy(remote, &url).await,
            trust: remote.trust().cloned(),
            url,
            body: None,
            headers: authorization.map(|value| (AUTHORIZATION, value)).into_iter().collect(),
            connect: remote.timeouts().connect,
        })
    }
}

/// Returns whether a token service refuses the account that was sent.
fn is_refused(request: &Request, response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED && !request.headers.is_empty()
}

fn realm(remote: &Remote, bearer: &Challenge) -> Result<Url, Error> {
    let missing = || Error::Token("the challenge has no usable realm".into());
    let realm = bearer.param("realm").ok_or_else(missing)?;
    let mut realm = remote.base().join(realm).map_err(|_| missing())?;
    if !urls::is_http(&realm) {
        return Err(missing());
    }
    urls::strip(&mut realm);
    Ok(realm)
}

/// Converts an error response of the token service: 429 and 5xx keep their meaning, any other 4xx is [`Error::Denied`].
async fn refusal(realm: &Url, response: Response) -> Error {
    let host = realm.host_str().unwrap_or_default().to_owned();
    match error_body::failure(response).await {
        Error::RateLimited { retry_after, message } => Error::RateLimited { retry_after, message },
        Error::Status { code, message } if code >= 500 => Error::Status { code, message },
        Error::Status { code, .. } if code < 400 => Error::Token(format!("{host} answered {code}")),
        Error::Status { code, message } => Error::Denied(format!("the token service {host} answered {code}{message}")),
        Error::Denied(message) => Error::Denied(format!("the token service {host}: {message}")),
        _ => Error::Denied(format!("the token service {host} gave no token")),
    }
}

fn parse(body: &[u8], asked: Instant) -> Result<Token, Error> {
    #[derive(Deserialize)]
    struct TokenResponse {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<serde_json::Number>,
    }
    // serde's own message could quote the token.
    let answer: TokenResponse =
        serde_json::from_slice(body).map_err(|_| Error::Token("the response is not a token response".into()))?;
    let value = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let value = value.ok_or_else(|| Error::Token("the response contains none".into()))?;
    let life = answer.expires_in.and_then(|life| life.as_u64().or_else(|| life.as_f64().map(|life| life as u64)));
    Ok(Token { value, until: asked + usable(life.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFETIME_SECS)) })
}

/// Returns for how long a token is used: its lifetime less a tenth, at least ten seconds less, but at least half of it.
fn usable(life: u64) -> Duration {
    let life = Duration::from_secs(life.min(MAX_LIFETIME_SECS));
    let margin = (life / 10).max(Duration::from_secs(10));
    life.saturating_sub(margin).max(life / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        for (life, used) in [(60, 50), (300, 270), (3600, 3240), (10, 5), (u64::MAX, 77_760)] {
            assert_eq!(usable(life), Duration::from_secs(used), "{life}");
        }
    }

    #[test]
    fn either_name_and_any_number_will_do() {
        let now = Instant::now();
        let read = |body: &str| parse(body.as_bytes(), now).map(|token| (token.value, (token.until - now).as_secs()));
        assert_eq!(read(r#"{"token":"a"}"#), Ok(("a".into(), 50)));
        assert_eq!(read(r#"{"token":"","access_token":"b","expires_in":300}"#), Ok(("b".into(), 270)));
        assert_eq!(read(r#"{"access_token":"c","expires_in":300.5,"x":[]}"#), Ok(("c".into(), 270)));
        assert_eq!(read(r#"{"token":"d","expires_in":-1,"issued_at":"?"}"#), Ok(("d".into(), 50)));
        for bad in ["", "{}", "[]", r#"{"token":3}"#, "<html>"] {
            assert!(matches!(read(bad), Err(Error::Token(_))), "{bad}");
        }
    }
}
