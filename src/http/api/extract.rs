//! Parses requests: names, digests and references become validated types, and repositories are authorized.

use std::borrow::Cow;

use actix_web::{HttpRequest, http::header};

use crate::{
    access::Action,
    http::{
        auth::authorize,
        context::{content_length, endpoint, header, is_mirror, note_repository, pairs, parameter, settings},
        errors::ApiError,
        transport::forwarded,
    },
    oci::{ContentRange, Digest, MediaType, Reference, Repository, RepositoryName, Tag, UploadId},
    registry::Registry,
};

/// Registries' next-page queries have some hundred bytes; the bound limits the cache, which is keyed by query.
const MAX_QUERY_BYTES: usize = 4 << 10;

/// Returns the repository of the path's `{name}` and the query's `ns`, if the caller may read it.
pub(in crate::http) async fn repository(registry: &Registry, request: &HttpRequest) -> Result<Repository, ApiError> {
    let (name, ns) = (name(request)?, named_registry(request));
    let repository = match is_mirror(request) {
        true => registry.mirrored(name, ns.as_deref())?,
        false => registry.repository(name, ns.as_deref()).await?,
    };
    note_repository(request, &repository);
    authorize::permit(request, &repository, Action::Pull)?;
    Ok(repository)
}

/// Returns the repository for a blob request. Unlike [`repository`], it finds blobs pushed to a name without a claim
/// yet.
pub(in crate::http) async fn blob_repository(
    registry: &Registry,
    request: &HttpRequest,
    digest: &Digest,
) -> Result<Repository, ApiError> {
    if !is_mirror(request) && named_registry(request).is_none() {
        let pushed = blob_source(registry, request, name(request)?, digest).await?;
        if pushed.domain.is_none() {
            note_repository(request, &pushed);
            authorize::permit(request, &pushed, Action::Pull)?;
            return Ok(pushed);
        }
    }
    repository(registry, request).await
}

/// Returns the repository that holds a blob under this name, for a request without `ns`.
pub(in crate::http) async fn blob_source(
    registry: &Registry,
    request: &HttpRequest,
    name: RepositoryName,
    digest: &Digest,
) -> Result<Repository, ApiError> {
    let own = Repository { domain: None, name };
    if authorize::may(request, &own, Action::Pull) && registry.has_layer(&own, digest).await? {
        return Ok(own);
    }
    Ok(registry.repository(own.name, None).await?)
}

/// Returns the repository of the path's `{name}`, if the caller may perform this write.
pub(in crate::http) async fn writable(
    registry: &Registry,
    request: &HttpRequest,
    action: Action,
) -> Result<Repository, ApiError> {
    if is_mirror(request) {
        // Reading an upload's status counts as a write, and the mirror listener has no uploads.
        return Err(ApiError::name_unknown());
    }
    if let Some(registry) = named_by_host(request) {
        return Err(ApiError::not_pushed_to(&registry));
    }
    let repository = Repository { domain: None, name: name(request)? };
    note_repository(request, &repository);
    // Authorized first, so that a client without permission learns nothing about the name.
    authorize::permit(request, &repository, action)?;
    Ok(registry.writable(repository.name).await?)
}

/// Returns the mirrored repository that a DELETE addresses, if the caller may delete there; `None` if it addresses a
/// hosted one. Without users nobody may: whatever is mirrored, clients could remove it over and over.
pub(in crate::http) async fn mirrored_for_delete(
    registry: &Registry,
    request: &HttpRequest,
) -> Result<Option<Repository>, ApiError> {
    if is_mirror(request) || settings(request).access.is_none() {
        return Ok(None);
    }
    let resolved = registry.repository(name(request)?, named_registry(request).as_deref()).await;
    let Some(mirrored) = resolved.ok().filter(|repository| repository.domain.is_some()) else { return Ok(None) };
    note_repository(request, &mirrored);
    authorize::permit(request, &mirrored, Action::Delete)?;
    Ok(Some(mirrored))
}

/// Returns the registry that the request names: by `ns`, or by the host that the client connected to.
pub(in crate::http) fn named_registry(request: &HttpRequest) -> Option<String> {
    parameter(request, "ns").or_else(|| named_by_host(request))
}

/// Returns the upstream that the host of the request stands for (`http.hosts`). A push there would not be what a pull
/// from there gets.
fn named_by_host(request: &HttpRequest) -> Option<String> {
    let hosts = &settings(request).hosts;
    if hosts.is_empty() {
        return None;
    }
    let called = forwarded::called(request).1.to_ascii_lowercase();
    let named = |wanted: &str| hosts.iter().find(|(host, _)| host.as_str() == wanted);
    let without_port = || named(called.rsplit_once(':')?.0);
    named(&called).or_else(without_port).map(|(_, domain)| domain.to_string())
}

/// Returns the path's `{name}`. The caller must authorize it.
fn name(request: &HttpRequest) -> Result<RepositoryName, ApiError> {
    Ok(sent_name(request).parse()?)
}

/// Returns the path's `{reference}`, for reading.
pub(in crate::http) fn reference(request: &HttpRequest) -> Result<Reference, ApiError> {
    Ok(object(request).parse::<Reference>()?)
}

/// Returns the path's `{reference}`, for a push; an invalid one is a client error.
pub(in crate::http) fn pushed_reference(request: &HttpRequest) -> Result<Reference, ApiError> {
    object(request).parse::<Reference>().map_err(ApiError::reference)
}

/// Returns the path's `{digest}`.
pub(in crate::http) fn digest(request: &HttpRequest) -> Result<Digest, ApiError> {
    Ok(object(request).parse::<Digest>()?)
}

/// Returns the path's `{session}`.
pub(in crate::http) fn upload(request: &HttpRequest) -> Result<UploadId, ApiError> {
    object(request).parse().map_err(|_| ApiError::upload_unknown())
}

/// Returns the digest in the query's parameter `wanted`, if present.
pub(in crate::http) fn digest_parameter(request: &HttpRequest, wanted: &str) -> Result<Option<Digest>, ApiError> {
    Ok(parameter(request, wanted).map(|text| text.parse::<Digest>()).transpose()?)
}

/// Returns every tag in the query.
pub(in crate::http) fn tag_parameters(request: &HttpRequest) -> Result<Vec<Tag>, ApiError> {
    let tags = pairs(request).filter(|(key, _)| key == "tag");
    tags.map(|(_, tag)| tag.parse::<Tag>().map_err(ApiError::tag)).collect()
}

/// Returns the page size in the query, at most `most`.
pub(in crate::http) fn page_size(request: &HttpRequest, most: usize) -> Result<usize, ApiError> {
    match parameter(request, "n") {
        None => Ok(most),
        Some(text) => text.parse().map(|n: usize| n.min(most)).map_err(|_| ApiError::page_size()),
    }
}

/// Returns true if the request names the registry of the repository: by `ns`, its host, the beginning of its path, or
/// by arriving at the mirror listener.
pub(in crate::http) fn names_registry(request: &HttpRequest, repository: &Repository) -> bool {
    let is_prefixed = || repository.domain.is_some() && sent_name(request) != repository.name.as_str();
    is_mirror(request) || named_registry(request).is_some() || is_prefixed()
}

/// Returns the query without `ns`, which only this mirror interprets. The rest is forwarded, because the upstream
/// defines its pagination.
pub(in crate::http) fn upstream_query(request: &HttpRequest) -> Result<String, ApiError> {
    let pairs = pairs(request).filter(|(key, _)| key != "ns");
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.len() > MAX_QUERY_BYTES { Err(ApiError::query_size(MAX_QUERY_BYTES)) } else { Ok(query) }
}

/// Returns `Content-Type`, if present.
pub(in crate::http) fn media_type(request: &HttpRequest) -> Option<MediaType> {
    header(request, &header::CONTENT_TYPE).map(MediaType::new)
}

/// Returns a chunk's start: `Content-Range: <start>-<end>` (distribution-spec, "Pushing a blob in chunks").
pub(in crate::http) fn chunk_start(request: &HttpRequest) -> Result<Option<u64>, ApiError> {
    let Some(range) = header(request, &header::CONTENT_RANGE) else { return Ok(None) };
    let range = ContentRange::parse_chunk(range).map_err(|_| ApiError::chunk_range())?;
    if content_length(request).is_some_and(|length| length != range.len()) {
        return Err(ApiError::chunk_range());
    }
    Ok(Some(range.start))
}

/// Returns the path's name as it was sent.
fn sent_name(request: &HttpRequest) -> &str {
    endpoint(request).map_or("", |endpoint| endpoint.name)
}

/// Returns the path's last segment, with the colon unescaped that some clients escape in digests.
fn object(request: &HttpRequest) -> Cow<'_, str> {
    let text = endpoint(request).map_or("", |endpoint| endpoint.object);
    if text.contains("%3A") || text.contains("%3a") {
        return text.replace("%3A", ":").replace("%3a", ":").into();
    }
    text.into()
}
