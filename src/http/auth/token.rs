//! `/token`: the token service of our own, where rules let strangers do something (distribution's token specification, and the
//! OAuth2 form of it). There is none otherwise.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::Payload,
};
use serde_json::json;

use super::{authenticate, challenge};
use crate::{
    access::{Access, Challenge, Principal, Proof, Scope},
    config::Secret,
    http::{context, errors::ApiError, transport::request_body},
};

/// More than any form of user, password and scopes.
const MOST_BYTES: usize = 64 << 10;

/// For whom `Authorization` names, or nobody in particular.
pub(in crate::http) async fn get(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let who = asker(&request)?;
    issue(&request, &who, &context::parameters(&request, "scope"))
}

/// For whom the form names by user and password. There are no tokens here to refresh others with: they would outlive a change
/// of the password.
pub(in crate::http) async fn post(request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let access = service(&request)?;
    let form = request_body::collect(&request, payload, MOST_BYTES).await?;
    let form = form.ok_or_else(|| ApiError::form_size(MOST_BYTES))?;
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
        // Where the form does not say, `Authorization` may.
        (None, None) if grant == "password" || grant.is_empty() => asker(&request)?,
        _ => return Err(ApiError::unsupported_grant()),
    };
    issue(&request, &who, &scopes)
}

/// Who shows a password, or nobody in particular. A token makes no tokens: what it was made for would become all that its user
/// may do, and its time would never be over.
fn asker(request: &HttpRequest) -> Result<Principal, ApiError> {
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
    access.filter(|access| access.challenge == Challenge::Own).ok_or_else(ApiError::no_such_path)
}
