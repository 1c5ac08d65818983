//! `/v2/<name>/blobs/<digest>` (end-2, end-10): pulls and deletes blobs.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::SizedStream,
    http::{StatusCode, header},
};
use futures_util::stream;

use super::{
    blob_body, extract,
    multipart::{Multipart, Part},
};
use crate::{
    http::{
        context::State,
        errors::ApiError,
        headers::{self, API_VERSION, NOSNIFF},
        ops::{events, http_metrics},
    },
    metrics::Content,
    notifications::EventAction,
    oci::{Action, ByteRange, Digest, RangeRequest, Repository},
    registry::{Blob, CacheStatus, Registry},
};

/// The content type of every blob; only manifests state the actual one.
const BINARY: &str = "application/octet-stream";

/// Returns a whole blob, or the requested ranges.
pub(in crate::http) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, digest) = blob_of(&registry, &request).await?;
    let blob = registry.blob(&repository, &digest).await?;
    let served = http_metrics::answered(&registry, &repository, Content::Blob, blob.cache_status);
    note_pull(&request, &repository, &digest, blob.size);
    if headers::holds(&request, &digest) {
        return Ok(found(StatusCode::NOT_MODIFIED, &digest, blob.cache_status).finish());
    }
    let size = blob.size;
    match wanted(&request, &digest, &blob) {
        RangeRequest::Unsatisfiable => {
            let mut response = actix_web::ResponseError::error_response(&ApiError::range(size));
            response.headers_mut().insert(header::CONTENT_RANGE, content_range_of_416(size));
            Ok(response)
        }
        RangeRequest::TooManyRanges => Err(ApiError::ranges()),
        RangeRequest::Whole if size == 0 => Ok(found(StatusCode::OK, &digest, blob.cache_status).body("")),
        RangeRequest::Whole => {
            let response = found(StatusCode::OK, &digest, blob.cache_status);
            let all = [Part::Range(ByteRange { start: 0, end: size })].into();
            Ok(blob_body::respond(&request, response, blob, all, size, served, registry.lanes()))
        }
        RangeRequest::Part(range) => {
            let mut response = found(StatusCode::PARTIAL_CONTENT, &digest, blob.cache_status);
            response.insert_header((header::CONTENT_RANGE, range.content_range(size)));
            Ok(blob_body::respond(
                &request,
                response,
                blob,
                [Part::Range(range)].into(),
                range.len(),
                served,
                registry.lanes(),
            ))
        }
        RangeRequest::Parts(ranges) => {
            let Multipart { content_type, parts, length } = Multipart::new(&ranges, size, BINARY);
            let mut response = found(StatusCode::PARTIAL_CONTENT, &digest, blob.cache_status);
            response.insert_header((header::CONTENT_TYPE, content_type));
            Ok(blob_body::respond(&request, response, blob, parts, length, served, registry.lanes()))
        }
    }
}

/// Returns a blob's existence and size.
pub(in crate::http) async fn head(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, digest) = blob_of(&registry, &request).await?;
    let (size, cache_status) =
        registry.blob_size(&repository, &digest, extract::names_registry(&request, &repository)).await?;
    http_metrics::answered(&registry, &repository, Content::Blob, cache_status);
    note_pull(&request, &repository, &digest, size);
    if headers::holds(&request, &digest) {
        return Ok(found(StatusCode::NOT_MODIFIED, &digest, cache_status).finish());
    }
    let nothing = stream::empty::<Result<_, actix_web::Error>>();
    Ok(found(StatusCode::OK, &digest, cache_status).body(SizedStream::new(size, nothing)))
}

/// Returns the repository and the digest that the path names, for reading.
async fn blob_of(registry: &Registry, request: &HttpRequest) -> Result<(Repository, Digest), ApiError> {
    let digest = extract::digest(request)?;
    Ok((extract::blob_repository(registry, request, &digest).await?, digest))
}

/// Notes the event of a pulled blob: as in registry:2, of each request that finds it.
fn note_pull(request: &HttpRequest, repository: &Repository, digest: &Digest, size: u64) {
    let Some(mut events) = events::of(request) else { return };
    events.blob(EventAction::Pull, repository, digest, size, None);
    events.note_pulls();
}

/// Removes a blob from a repository.
pub(in crate::http) async fn delete(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Delete).await?;
    let digest = extract::digest(&request)?;
    registry.deletable()?;
    let events = events::of(&request);
    let delete = async move {
        registry.delete_blob(&repository, &digest).await?;
        let Some(mut events) = events else { return Ok(()) };
        events.deleted(&repository, Some(&digest), None);
        events.note().await
    };
    events::to_the_end(&request, delete).await?;
    Ok(HttpResponse::Accepted().insert_header(API_VERSION).finish())
}

/// Returns the requested ranges, or the whole blob if `If-Range` (RFC 9110, section 13.1.5) names other content.
/// Several ranges of a blob that is passed through also return the whole: each range would cost a request to the
/// upstream.
fn wanted(request: &HttpRequest, digest: &Digest, blob: &Blob) -> RangeRequest {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    match text(header::IF_RANGE) {
        Some(validator) if validator != format!("\"{digest}\"") => RangeRequest::Whole,
        _ => match RangeRequest::parse(text(header::RANGE), blob.size) {
            RangeRequest::Parts(_) if blob.passes_through() => RangeRequest::Whole,
            wanted => wanted,
        },
    }
}

fn found(status: StatusCode, digest: &Digest, cache_status: CacheStatus) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    headers::describe(&mut response, digest, cache_status);
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, "max-age=31536000"))
        .insert_header((header::CONTENT_TYPE, BINARY));
    response
}

fn content_range_of_416(size: u64) -> header::HeaderValue {
    header::HeaderValue::from_str(&format!("bytes */{size}")).unwrap_or(header::HeaderValue::from_static("bytes */*"))
}
