//! Sends a request to an upstream up to the response's head: authorization, redirects, and the meaning of the status.

use std::cell::Cell;

use awc::http::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    Client, Error, Phase, Remote,
    address_policy::AddressPolicy,
    body::excerpt,
    challenge::Challenge,
    client::{Request, Response},
    token::Authorization,
};
use super::{error_body::failure, urls};
use crate::{metrics::Content, oci::RepositoryName};

const MAX_REDIRECTS: usize = 5;

/// A request about one repository.
pub(super) struct UpstreamRequest<'a> {
    pub(super) remote: &'a Remote,
    pub(super) name: &'a RepositoryName,
    /// The kind of content that is requested.
    pub(super) content: Content,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// A header for one host only, wherever a redirect leads.
    pub(super) host_header: Option<(&'a str, HeaderName, HeaderValue)>,
    /// Set if redirects are followed; otherwise they are errors by their status.
    pub(super) follow: bool,
    /// Set if the caller has a permit for a large body already, and needs none for this request.
    pub(super) has_permit: bool,
}

/// A response's head, after redirects.
pub(super) struct UpstreamResponse {
    pub(super) response: Response,
    /// The URL that it came from, after redirects.
    pub(super) url: Url,
}

impl UpstreamResponse {
    /// Reads the error body of a response without success. Only the upstream itself can deny something: the target of a
    /// redirect that does says nothing of the content.
    pub(super) async fn failure(self, remote: &Remote) -> Error {
        let is_own = remote.is_own(&self.url);
        match failure(self.response).await {
            Error::Denied(_) if !is_own => Error::Status { code: 403, message: " from where it redirects to".into() },
            error => error,
        }
    }
}

impl Client {
    /// Sends a request and returns the response's head, if it is a success.
    pub(super) async fn ask(&self, request: &UpstreamRequest<'_>) -> Result<UpstreamResponse, Error> {
        let answer = self.ask_for_any(request).await?;
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        Err(answer.failure(request.remote).await)
    }

    /// Sends a request and returns the response's head with any status.
    pub(super) async fn ask_for_any(&self, request: &UpstreamRequest<'_>) -> Result<UpstreamResponse, Error> {
        // Waiting for a permit does not count as the upstream's silence.
        let _permit = if request.has_permit { None } else { Some(request.remote.permits().head().await?) };
        let (phase, began) = (Cell::new(Phase::Head), Instant::now());
        let asked = timeout(request.remote.timeouts().head, self.follow(request, &phase)).await;
        let answer = asked.unwrap_or_else(|_| Err(Error::Timeout { phase: phase.get() }));
        request.remote.count(request.content, request.method.as_str(), &answer, began.elapsed());
        answer
    }

    async fn follow(&self, request: &UpstreamRequest<'_>, phase: &Cell<Phase>) -> Result<UpstreamResponse, Error> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.hop(request, &url, phase).await?;
            if !request.follow || !is_redirect(response.status()) {
                return Ok(UpstreamResponse { response, url });
            }
            url = location(&response, &url)?;
            excerpt(response).await;
        }
        Err(Error::Redirect(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Sends one request, and a second one if the upstream itself answered with a challenge.
    async fn hop(&self, request: &UpstreamRequest<'_>, url: &Url, phase: &Cell<Phase>) -> Result<Response, Error> {
        let remote = request.remote;
        if !remote.is_own(url) {
            return self.send(&request.for_url(url, self.address_policy(remote, url).await, None)).await;
        }
        let authorization = Authorization::known(remote, request.name);
        let response = self.send_own(request, url, &authorization).await?;
        if !needs_authorization(&response, &authorization) {
            return Ok(response);
        }
        let challenges = challenges(&response);
        phase.set(Phase::Token);
        let answer = self.answer(remote, request.name, &challenges, &authorization).await?;
        phase.set(Phase::Head);
        let Some(authorization) = answer else { return accepted(response, &authorization, url) };
        excerpt(response).await;
        accepted(self.send_own(request, url, &authorization).await?, &authorization, url)
    }

    async fn send_own(
        &self,
        request: &UpstreamRequest<'_>,
        url: &Url,
        authorization: &Authorization,
    ) -> Result<Response, Error> {
        let authorization = authorization.header();
        let response = self.send(&request.for_url(url, AddressPolicy::ANYWHERE, authorization)).await?;
        request.remote.note_pull_rate_limit(response.headers());
        Ok(response)
    }
}

impl UpstreamRequest<'_> {
    fn for_url(&self, url: &Url, address_policy: AddressPolicy, authorization: Option<HeaderValue>) -> Request {
        let host = url.host_str();
        let for_host = self.host_header.iter().filter(|(only, ..)| host == Some(only));
        let for_host = for_host.map(|(_, name, value)| (name.clone(), value.clone()));
        let authorization = authorization.map(|value| (AUTHORIZATION, value));
        Request {
            method: self.method.clone(),
            url: url.clone(),
            headers: self.headers.iter().cloned().chain(for_host).chain(authorization).collect(),
            body: None,
            address_policy,
            trust: self.remote.trust().cloned(),
            connect: self.remote.timeouts().connect,
        }
    }
}

/// Returns whether the response is a 401, or a 403 with a challenge to a token from the cache.
fn needs_authorization(response: &Response, authorization: &Authorization) -> bool {
    let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
    match response.status() {
        StatusCode::UNAUTHORIZED => challenged,
        StatusCode::FORBIDDEN => challenged && matches!(authorization, Authorization::Bearer(_)),
        _ => false,
    }
}

/// Returns the response, unless it refuses the account that was sent.
fn accepted(response: Response, authorization: &Authorization, url: &Url) -> Result<Response, Error> {
    match (response.status(), authorization) {
        (StatusCode::UNAUTHORIZED, Authorization::Basic(_)) => {
            Err(Error::Login(url.host_str().unwrap_or_default().to_owned()))
        }
        _ => Ok(response),
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
    let unfit = || Error::Redirect("no usable Location".into());
    let text = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).ok_or_else(unfit)?;
    let mut url = from.join(text).map_err(|_| unfit())?;
    urls::strip(&mut url);
    match (from.scheme(), url.scheme()) {
        _ if !urls::is_http(&url) => Err(unfit()),
        ("https", "http") => Err(Error::Redirect(format!("from https to http at {}", url.host_str().unwrap_or("?")))),
        _ => Ok(url),
    }
}
