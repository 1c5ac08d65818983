//! A request's context: the settings of the listener that it came to, its caller, its headers and its query.

use std::borrow::Cow;

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{self, HeaderName},
    web,
};

use super::settings::{Listener, Settings};
use crate::{access::Caller, registry::Registry};

/// What every handler has at hand.
pub(super) type State = web::Data<Registry>;

/// Whether a request came to the mirror's own door.
pub(super) fn is_mirror(request: &HttpRequest) -> bool {
    settings(request).listener == Listener::Mirror
}

/// How this server presents itself.
pub(super) fn settings(request: &HttpRequest) -> &Settings {
    match request.app_data::<web::Data<Settings>>() {
        Some(settings) => settings.get_ref(),
        None => Settings::none(),
    }
}

/// Who asks.
pub(super) fn caller(request: &HttpRequest) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::anonymous)
}

/// Says who asks.
pub(super) fn remember(request: &HttpRequest, caller: Caller) {
    request.extensions_mut().insert(caller);
}

/// The query's parameter `wanted`.
pub(super) fn parameter(request: &HttpRequest, wanted: &str) -> Option<String> {
    pairs(request).find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
}

/// Every value of the query's parameter `wanted`.
pub(super) fn parameters(request: &HttpRequest, wanted: &str) -> Vec<String> {
    pairs(request).filter(|(key, _)| key == wanted).map(|(_, value)| value.into_owned()).collect()
}

/// A header's value, where it is text.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

pub(super) fn pairs(request: &HttpRequest) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(request.query_string().as_bytes())
}

/// How many bytes a body is said to have.
pub(super) fn content_length(request: &HttpRequest) -> Option<u64> {
    header(request, &header::CONTENT_LENGTH).and_then(|length| length.parse().ok())
}
