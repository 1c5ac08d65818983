//! Requests, parsed once: past this file a name, a digest or a reference is a value that cannot be wrong.

use actix_web::{HttpRequest, web};

use super::errors::Refusal;
use crate::{
    oci::{Digest, Reference, Repository},
    registry::Registry,
};

/// What every handler has at hand.
pub(super) type State = web::Data<Registry>;

/// The repository a path's `{name}` and the query's `ns` mean.
pub(super) fn repository(registry: &Registry, request: &HttpRequest) -> Result<Repository, Refusal> {
    let name = segment(request, "name").parse::<crate::oci::RepositoryName>()?;
    Ok(registry.repository(name, parameter(request, "ns").as_deref())?)
}

/// A path's `{reference}`.
pub(super) fn reference(request: &HttpRequest) -> Result<Reference, Refusal> {
    Ok(segment(request, "reference").parse::<Reference>()?)
}

/// A path's `{digest}`.
pub(super) fn digest(request: &HttpRequest) -> Result<Digest, Refusal> {
    Ok(segment(request, "digest").parse::<Digest>()?)
}

/// Whether the query names the registry that is meant.
pub(super) fn names_registry(request: &HttpRequest) -> bool {
    parameter(request, "ns").is_some()
}

/// The query without `ns`, which is between the client and its mirror.
pub(super) fn upstream_query(request: &HttpRequest) -> String {
    let pairs = url::form_urlencoded::parse(request.query_string().as_bytes()).filter(|(key, _)| key != "ns");
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn parameter(request: &HttpRequest, wanted: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
    pairs.find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
}

fn segment<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.match_info().get(name).unwrap_or_default()
}
