//! `/token`: the built-in token service (distribution's token specification and its OAuth2 form). It exists only if the
//! rules allow anonymous clients something.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::Payload,
};
use serde_json::json;

use super::{authenticate, challenge};
use crate::{
    access::{Access, AuthScheme, Principal, Proof, Scope},
    config::Secret,
    http::{context, errors::ApiError, transport::request_body},
};

/// The largest form accepted; user, password and scopes need less.
const MAX_FORM_BYTES: usize = 64 << 10;

/// Issues a token for the user in `Authorization`, or for an anonymous client.
pub(in crate::http) async fn get(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let who = requester(&request)?;
    issue(&request, &who, &context::parameters(&request, "scope"))
}

/// Issues a token for the user and password in the form. There are no refresh tokens, because they would outlive a
/// change of the password.
pub(in crate::http) async fn post(request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let access = service(&request)?;
    let form = request_body::collect(&request, payload, MAX_FORM_BYTES).await?;
    let form = form.ok_or_else(|| ApiError::form_size(MAX_FORM_BYTES))?;
    let (mut scopes, mut user, mut password, mut grant) = (Vec::new(), None, None, String::new());
    for (key, value) in url::form_urlencoded::parse(&form) {
        match key.as_ref() {
            "scope" => scopes.push(value.into_owned()),
            "username" => user = Some(value.into_owned()),
            "password" => password = Some(Secret::new(value)),
            "grant_type" => grant = value.into_owned(),
            _ => {}
        }
    }
    let who = match (user, password) {
        (Some(user), Some(password)) if grant == "password" => {
            authenticate::log_in(access, &request, &user, &password).await?.who
        }
        // Without a user in the form, `Authorization` is used.
        (None, None) if grant == "password" || grant.is_empty() => requester(&request)?,
        _ => return Err(ApiError::unsupported_grant()),
    };
    issue(&request, &who, &scopes)
}

/// Returns the user who sent a password, or anonymous. A token is not accepted: it would be exchanged for one with all
/// permissions of its user, again and again without the password.
fn requester(request: &HttpRequest) -> Result<Principal, ApiError> {
    let (access, caller) = (service(request)?, context::caller(request));
    match caller.proof {
        Proof::Password | Proof::Nothing => Ok(caller.who),
        Proof::Invalid | Proof::Token { .. } => {
            Err(ApiError::unauthorized(challenge::write(access, request, None, Some("invalid_token"))))
        }
    }
}

fn issue(request: &HttpRequest, who: &Principal, scopes: &[String]) -> Result<HttpResponse, ApiError> {
    let scopes: Vec<Scope> = scopes.iter().flat_map(|scopes| scopes.split(' ')).filter_map(Scope::parse).collect();
    let issued = service(request)?.issue(who, &scopes).ok_or_else(ApiError::no_such_path)?;
    let issued = issued.map_err(|error| ApiError::unsigned(&error))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    Ok(response.json(json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.lifetime.as_secs(),
        "issued_at": humantime::format_rfc3339_seconds(issued.at).to_string(),
    })))
}

fn service(request: &HttpRequest) -> Result<&Access, ApiError> {
    let access = context::settings(request).access.as_deref();
    access.filter(|access| access.challenge == AuthScheme::Own).ok_or_else(ApiError::no_such_path)
}
