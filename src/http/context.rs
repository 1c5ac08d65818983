//! Access to a request's context: the settings of its listener, its caller, its headers and its query.

use std::borrow::Cow;

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{self, HeaderName},
    web,
};

use super::{
    endpoint::Endpoint,
    settings::{Listener, Settings},
};
use crate::{access::Caller, oci::Repository, registry::Registry};

/// The registry, as application data of every handler.
pub(super) type State = web::Data<Registry>;

/// Returns true if the request arrived at the mirror listener.
pub(super) fn is_mirror(request: &HttpRequest) -> bool {
    settings(request).listener == Listener::Mirror
}

/// Returns the endpoint that the request's path names; `None` if it is no path of the API.
pub(super) fn endpoint(request: &HttpRequest) -> Option<Endpoint<'_>> {
    Endpoint::of(request.match_info().as_str(), &settings(request).prefix)
}

/// Returns true if the response is for a browser to show: RFC 9110, section 12.5.1.
pub(super) fn is_browser(request: &HttpRequest) -> bool {
    header(request, &header::ACCEPT).is_some_and(|accepted| accepted.contains("text/html"))
}

/// Returns the settings of the listener that the request arrived at.
pub(super) fn settings(request: &HttpRequest) -> &Settings {
    match request.app_data::<web::Data<Settings>>() {
        Some(settings) => settings.get_ref(),
        None => Settings::none(),
    }
}

/// Returns the authenticated caller, or an anonymous one.
pub(super) fn caller(request: &HttpRequest) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::anonymous)
}

/// Attaches the caller to the request.
pub(super) fn remember(request: &HttpRequest, caller: Caller) {
    request.extensions_mut().insert(caller);
}

/// Attaches the repository that the request turned out to name, for the access log.
pub(super) fn note_repository(request: &HttpRequest, repository: &Repository) {
    if settings(request).access_log {
        request.extensions_mut().insert(repository.clone());
    }
}

/// Returns the repository that [`note_repository`] attached.
pub(super) fn repository(request: &HttpRequest) -> Option<Repository> {
    request.extensions().get::<Repository>().cloned()
}

/// Returns the first value of the query's parameter `wanted`.
pub(super) fn parameter(request: &HttpRequest, wanted: &str) -> Option<String> {
    pairs(request).find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
}

/// Returns every value of the query's parameter `wanted`.
pub(super) fn parameters(request: &HttpRequest, wanted: &str) -> Vec<String> {
    pairs(request).filter(|(key, _)| key == wanted).map(|(_, value)| value.into_owned()).collect()
}

/// Returns a header's value, if it is text.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

pub(super) fn pairs(request: &HttpRequest) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(request.query_string().as_bytes())
}

/// Returns the value of `Content-Length`.
pub(super) fn content_length(request: &HttpRequest) -> Option<u64> {
    header(request, &header::CONTENT_LENGTH).and_then(|length| length.parse().ok())
}
