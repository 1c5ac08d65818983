//! Authentication middleware: turns `Authorization` into a `Caller` before any handler runs, and answers 401 if no rule
//! allows anonymous clients anything. Permissions are checked by `authorize`, and recorded by `audit`.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{audit, challenge};
use crate::{
    access::{Access, Caller, LoginError},
    config::Secret,
    http::{
        context,
        errors::ApiError,
        paths,
        transport::{forwarded::client_address, limiter},
    },
};

/// Identifies the caller, or answers the request with a challenge.
pub(in crate::http) async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let access = context::settings(request.request()).access.clone();
    let Some(access) = access.filter(|_| !is_open(&request)) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if let Some(registry) = request.app_data::<context::State>() {
        access.refresh(registry.lanes()).await;
    }
    match identify(&access, request.request()).await {
        Ok(caller) => context::remember(request.request(), caller),
        Err(error) => {
            let response = error.error_response();
            return Ok(request.into_response(response));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Returns true for requests that need no authentication. OPTIONS reveals nothing about a repository, and browsers send
/// it without credentials.
fn is_open(request: &ServiceRequest) -> bool {
    let path = request.path();
    let is_probed_root = path == paths::ROOT && !context::is_browser(request.request());
    paths::is_probe(path) || is_probed_root || *request.method() == Method::OPTIONS
}

async fn identify(access: &Access, request: &HttpRequest) -> Result<Caller, ApiError> {
    let header = context::header(request, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let caller = match header {
        Some((scheme, credentials)) if scheme.eq_ignore_ascii_case("basic") => {
            return basic(access, request, credentials.trim()).await;
        }
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => access.read_token(token.trim()),
        _ if request.headers().contains_key(header::AUTHORIZATION) => Caller::invalid(),
        _ => Caller::anonymous(),
    };
    // If tokens are used, the handler sends the challenge, because it knows the scope that is needed.
    if access.denies_anonymous() { Err(unknown(access, request)) } else { Ok(caller) }
}

async fn basic(access: &Access, request: &HttpRequest, credentials: &str) -> Result<Caller, ApiError> {
    let Some((user, password)) = decode(credentials) else { return Err(unknown(access, request)) };
    log_in(access, request, &user, &password).await
}

/// Checks a user's password, and logs and counts failures.
pub(in crate::http) async fn log_in(
    access: &Access,
    request: &HttpRequest,
    user: &str,
    password: &Secret,
) -> Result<Caller, ApiError> {
    let client = client_address(request);
    access.log_in(client, user, password.expose()).await.map_err(|error| match error {
        LoginError::Wrong => {
            audit::login_failed(request, user);
            unknown(access, request)
        }
        LoginError::Throttled { after } => {
            let what = format!("{client} fails to log in again and again: it has to wait");
            limiter::warn(request, |limiter| &limiter.guesses, &what);
            ApiError::too_many_attempts(after)
        }
    })
}

/// Decodes the credentials of RFC 7617, section 2: base64 of `user:password`.
fn decode(credentials: &str) -> Option<(String, Secret)> {
    let text = Secret::new(String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?);
    let (user, password) = text.expose().split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

fn unknown(access: &Access, request: &HttpRequest) -> ApiError {
    ApiError::unauthorized(challenge::write(access, request, None, None))
}
