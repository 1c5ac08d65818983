//! Who asks: `Authorization` becomes a caller before any handler runs, and strangers are asked to say who they are where
//! nobody may do anything without. What a caller may do is `guard`'s.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{audit, client, errors::Refusal, extract};
use crate::{
    access::{Access, Challenge, LoginError, Principal},
    config::Secret,
};

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Principal,
}

/// Lets callers in whom the handlers may answer, and writes down what became of them.
pub(super) async fn keep(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(access) = extract::settings(request.request()).access.clone() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    match identify(&access, request.request()).await {
        Ok(caller) => extract::remember(request.request(), caller),
        Err(refusal) => {
            let response = refusal.error_response();
            return Ok(request.into_response(response));
        }
    }
    let response = next.call(request).await?.map_into_boxed_body();
    audit::write(&response);
    Ok(response)
}

async fn identify(access: &Access, request: &HttpRequest) -> Result<Caller, Refusal> {
    let Some(said) = extract::header(request, &header::AUTHORIZATION) else {
        return match access.challenge {
            Challenge::Basic { .. } => Err(unknown(access)),
        };
    };
    match said.split_once(' ') {
        Some((scheme, credentials)) if scheme.eq_ignore_ascii_case("basic") => {
            basic(access, request, credentials.trim()).await
        }
        _ => Err(unknown(access)),
    }
}

async fn basic(access: &Access, request: &HttpRequest, credentials: &str) -> Result<Caller, Refusal> {
    let Some((user, password)) = decode(credentials) else { return Err(unknown(access)) };
    let Some(logins) = &access.logins else { return Err(unknown(access)) };
    match logins.log_in(client::address(request), &user, password.expose()).await {
        Ok(who) => Ok(Caller { who }),
        Err(error) => {
            audit::login_failed(request, &user, error);
            match error {
                LoginError::Wrong => Err(unknown(access)),
                LoginError::Later { after } => Err(Refusal::too_many_attempts(after)),
            }
        }
    }
}

/// RFC 7617, section 2: base64 of `user:password`.
fn decode(credentials: &str) -> Option<(String, Secret)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

fn unknown(access: &Access) -> Refusal {
    Refusal::unauthorized(challenge(access))
}

/// RFC 9110, section 11.6.1.
pub(super) fn challenge(access: &Access) -> String {
    match &access.challenge {
        Challenge::Basic { realm } => format!("Basic realm={}", quoted(realm)),
    }
}

/// RFC 9110, section 5.6.4.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
