//! Requests, parsed once: past this file a name, a digest or a reference is a value that cannot be wrong.

use std::borrow::Cow;

use actix_web::{HttpRequest, http::header};

use crate::{
    access::Action,
    http::{
        auth::authorize,
        context::{content_length, header, is_mirror, pairs, parameter},
        errors::ApiError,
    },
    oci::{ContentRange, Digest, MediaType, Reference, Repository, RepositoryName, Tag, UploadId},
    registry::Registry,
};

/// Registries ask for the next page by some hundred bytes; each query that is asked is remembered.
const LONGEST_QUERY: usize = 4 << 10;

/// The repository a path's `{name}` and the query's `ns` mean, for reading, if the caller may.
pub(in crate::http) async fn repository(registry: &Registry, request: &HttpRequest) -> Result<Repository, ApiError> {
    let (name, ns) = (name(request)?, parameter(request, "ns"));
    let repository = match is_mirror(request) {
        true => registry.mirrored(name, ns.as_deref())?,
        false => registry.repository(name, ns.as_deref()).await?,
    };
    authorize::permit(request, &repository, Action::Pull)?;
    Ok(repository)
}

/// As [`repository`], where a blob is asked for: what was pushed under a name that nobody has claimed yet is there.
pub(in crate::http) async fn blob_repository(
    registry: &Registry,
    request: &HttpRequest,
    digest: &Digest,
) -> Result<Repository, ApiError> {
    if !names_registry(request) {
        let pushed = blob_source(registry, request, name(request)?, digest).await?;
        if pushed.domain.is_none() {
            authorize::permit(request, &pushed, Action::Pull)?;
            return Ok(pushed);
        }
    }
    repository(registry, request).await
}

/// The repository that has a blob of this name, as a request without `ns` means it.
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

/// The repository a path's `{name}` means, for writing, if the caller may do this to it.
pub(in crate::http) async fn writable(
    registry: &Registry,
    request: &HttpRequest,
    action: Action,
) -> Result<Repository, ApiError> {
    if is_mirror(request) {
        // An upload can be looked at, too, and is none of the mirror's.
        return Err(ApiError::name_unknown());
    }
    let repository = Repository { domain: None, name: name(request)? };
    // First, so that nobody hears what a name is whose business it is not.
    authorize::permit(request, &repository, action)?;
    Ok(registry.writable(repository.name).await?)
}

/// A path's `{name}`. Only what asks `guard` itself may use it.
fn name(request: &HttpRequest) -> Result<RepositoryName, ApiError> {
    Ok(segment(request, "name").parse()?)
}

/// A path's `{reference}`, for reading.
pub(in crate::http) fn reference(request: &HttpRequest) -> Result<Reference, ApiError> {
    Ok(unescaped(request, "reference").parse::<Reference>()?)
}

/// A path's `{reference}`, for pushing: one that can be nobody's is the client's mistake.
pub(in crate::http) fn pushed_reference(request: &HttpRequest) -> Result<Reference, ApiError> {
    unescaped(request, "reference").parse::<Reference>().map_err(ApiError::reference)
}

/// A path's `{digest}`.
pub(in crate::http) fn digest(request: &HttpRequest) -> Result<Digest, ApiError> {
    Ok(unescaped(request, "digest").parse::<Digest>()?)
}

/// A path's `{session}`.
pub(in crate::http) fn upload(request: &HttpRequest) -> Result<UploadId, ApiError> {
    segment(request, "session").parse().map_err(|_| ApiError::upload_unknown())
}

/// The digest that the query's parameter `wanted` names, where it is there.
pub(in crate::http) fn digest_parameter(request: &HttpRequest, wanted: &str) -> Result<Option<Digest>, ApiError> {
    Ok(parameter(request, wanted).map(|text| text.parse::<Digest>()).transpose()?)
}

/// Every tag the query names.
pub(in crate::http) fn tag_parameters(request: &HttpRequest) -> Result<Vec<Tag>, ApiError> {
    let tags = pairs(request).filter(|(key, _)| key == "tag");
    tags.map(|(_, tag)| tag.parse::<Tag>().map_err(ApiError::tag)).collect()
}

/// A number in the query: how many entries a page may have.
pub(in crate::http) fn page_size(request: &HttpRequest, most: usize) -> Result<usize, ApiError> {
    match parameter(request, "n") {
        None => Ok(most),
        Some(text) => text.parse().map(|n: usize| n.min(most)).map_err(|_| ApiError::page_size()),
    }
}

/// Whether the request says which registry is meant: by its query, or by its door.
pub(in crate::http) fn names_registry(request: &HttpRequest) -> bool {
    is_mirror(request) || parameter(request, "ns").is_some()
}

/// The query without `ns`, which is between the client and its mirror. All else is passed on: how a next page is asked for is
/// the upstream's.
pub(in crate::http) fn upstream_query(request: &HttpRequest) -> Result<String, ApiError> {
    let pairs = pairs(request).filter(|(key, _)| key != "ns");
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.len() > LONGEST_QUERY { Err(ApiError::query_size(LONGEST_QUERY)) } else { Ok(query) }
}

/// `Content-Type`, where there is one.
pub(in crate::http) fn media_type(request: &HttpRequest) -> Option<MediaType> {
    header(request, &header::CONTENT_TYPE).map(MediaType::new)
}

/// Where a chunk begins: `Content-Range: <start>-<end>` (distribution-spec, "Pushing a blob in chunks").
pub(in crate::http) fn chunk_start(request: &HttpRequest) -> Result<Option<u64>, ApiError> {
    let Some(range) = header(request, &header::CONTENT_RANGE) else { return Ok(None) };
    let range = ContentRange::parse_chunk(range).map_err(|_| ApiError::chunk_range())?;
    if content_length(request).is_some_and(|length| length != range.len()) {
        return Err(ApiError::chunk_range());
    }
    Ok(Some(range.start))
}

fn segment<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.match_info().get(name).unwrap_or_default()
}

/// A last segment, in which some clients escape the digest's colon.
fn unescaped<'a>(request: &'a HttpRequest, name: &str) -> Cow<'a, str> {
    let text = segment(request, name);
    if text.contains("%3A") || text.contains("%3a") {
        return text.replace("%3A", ":").replace("%3a", ":").into();
    }
    text.into()
}
