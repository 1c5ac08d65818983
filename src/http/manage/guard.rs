//! The checks of a request to the management API: users exist, the caller is one, and a browser sends it from a page of
//! this server itself.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderName, HeaderValue},
};

use crate::{
    access::Action,
    http::{auth::authorize, context, errors::ApiError, transport::forwarded},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const JSON: &str = "application/json";

/// Checks that the caller is a user. Handlers check the permission for each repository.
///
/// # Errors
/// An [`ApiError`] with 404 on the mirror listener, 403 if there are no users, 401 if the caller is none.
pub(super) fn is_user(request: &HttpRequest) -> Result<(), ApiError> {
    if context::is_mirror(request) {
        return Err(ApiError::no_such_path());
    }
    if context::settings(request).access.is_none() {
        return Err(ApiError::without_users());
    }
    authorize::is_user(request)
}

/// Checks that the caller may manage every repository.
pub(super) fn manages_everything(request: &HttpRequest) -> Result<(), ApiError> {
    match authorize::may_everywhere(request, Action::Manage) {
        true => Ok(()),
        false => Err(ApiError::manages_not_everything()),
    }
}

/// Checks a request that changes something. A form on another site can send neither JSON nor another site's headers,
/// and a script there needs this server's permission, which it never gives.
///
/// # Errors
/// An [`ApiError`] with 403 for a request from another site, 415 for a body that is not JSON.
pub(super) fn is_same_site(request: &HttpRequest) -> Result<(), ApiError> {
    let site = request.headers().get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(ApiError::other_site());
    }
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let own = forwarded::called(request).1;
        if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&own)) {
            return Err(ApiError::other_site());
        }
    }
    let media_type = context::header(request, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) { Ok(()) } else { Err(ApiError::not_json()) }
}
