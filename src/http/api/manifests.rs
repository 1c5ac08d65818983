//! `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9): pulls, pushes and deletes manifests.

use std::{ops::ControlFlow, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, body::SizedStream, http::header, web::Payload};
use bytes::Bytes;
use futures_util::stream;

use super::extract;
use crate::{
    http::{
        auth::authorize,
        context::{self, State},
        errors::ApiError,
        headers::{self, API_VERSION, NOSNIFF},
        ops::{
            events::{self, EventManifest},
            http_metrics,
        },
        transport::{forwarded, limiter, location, request_body},
    },
    lanes::{Blocking, Lane},
    metrics::Content,
    notifications::EventAction,
    oci::{Action, Digest, MediaType, Reference, Repository},
    registry::{
        self, CacheStatus, ClaimPermission, Head, ManifestPush, Mode, PurgeTarget, PushResult, Registry, StoredManifest,
    },
};

/// Returns a manifest's bytes, exactly as pushed.
pub(in crate::http) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, reference) = manifest_of(&registry, &request).await?;
    let registry = registry.into_inner();
    refresh(&registry, &request, &repository, &reference).await;
    let (manifest, cache_status) = registry.manifest(&repository, &reference).await?;
    let served = http_metrics::answered(&registry, &repository, Content::Manifest, cache_status);
    note_client(&registry, &request, &repository, &manifest.digest);
    if headers::holds(&request, &manifest.digest) {
        return Ok(not_modified(&manifest.digest, cache_status));
    }
    served.iter().for_each(|served| served.add(manifest.bytes.len() as u64));
    note_pull(&request, &repository, &reference, &event_of(&manifest));
    Ok(found(&manifest.digest, manifest.media_type(), cache_status).body(manifest.bytes.clone()))
}

/// Returns the headers of `get` without the body.
pub(in crate::http) async fn head(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, reference) = manifest_of(&registry, &request).await?;
    let registry = registry.into_inner();
    refresh(&registry, &request, &repository, &reference).await;
    let named = extract::names_registry(&request, &repository);
    let (head, cache_status) = registry.manifest_head(&repository, &reference, named).await?;
    http_metrics::answered(&registry, &repository, Content::Manifest, cache_status);
    note_client(&registry, &request, &repository, &head.digest);
    if headers::holds(&request, &head.digest) {
        return Ok(not_modified(&head.digest, cache_status));
    }
    note_head(&registry, &request, &repository, &reference, &head).await;
    let nothing = stream::empty::<Result<_, actix_web::Error>>();
    Ok(found(&head.digest, &head.media_type, cache_status).body(SizedStream::new(head.size, nothing)))
}

/// Asks the upstream about a tag anew for a user who may manage it and does not accept a cached answer (`no-cache`: RFC
/// 9111, section 5.2.1.4). If the upstream gives no answer, the cached one is served as for others.
async fn refresh(registry: &Arc<Registry>, request: &HttpRequest, repository: &Repository, reference: &Reference) {
    let directives = context::header(request, &header::CACHE_CONTROL).unwrap_or_default();
    let is_asked = directives.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"));
    if is_asked
        && let (Reference::Tag(tag), Some(_)) = (reference, &repository.domain)
        && authorize::manageable(request)(repository)
        && let Err(error) = registry.refresh(repository, tag).await
    {
        tracing::info!(%repository, %tag, %error, "upstream not asked anew; serving by the usual rules");
    }
}

/// Records the client, for reports about the image.
fn note_client(registry: &Registry, request: &HttpRequest, repository: &Repository, digest: &Digest) {
    let (who, address) = (context::caller(request).who, forwarded::client_address(request));
    registry.note_client(repository, digest, who.name().unwrap_or("anonymous"), &address.to_string());
}

/// Returns the repository and the reference that the path names, for reading.
async fn manifest_of(registry: &Registry, request: &HttpRequest) -> Result<(Repository, Reference), ApiError> {
    Ok((extract::repository(registry, request).await?, extract::reference(request)?))
}

/// Stores a manifest by its digest, with the tags in `?tag=`, or by a tag.
pub(in crate::http) async fn put(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    let reference = extract::pushed_reference(&request)?;
    let permission = registry.check_claim(&repository).await?;
    let bytes = collect(&request, body).await?;
    let (digest, mut tags) = match &reference {
        Reference::Digest(digest) => (Some(*digest), Vec::new()),
        Reference::Tag(tag) => (extract::digest_parameter(&request, "digest")?, vec![tag.clone()]),
    };
    tags.extend(extract::tag_parameters(&request)?);
    let push = ManifestPush { bytes, digest, media_type: extract::media_type(&request), tags: tags.clone() };
    let stored = store(registry, &request, &repository, permission, push).await?;
    let mut response = HttpResponse::Created();
    response
        .insert_header(API_VERSION)
        .insert_header((header::LOCATION, location::manifest(&request, &repository.name, &reference.to_string())))
        .insert_header((headers::DOCKER_CONTENT_DIGEST, stored.digest.to_string()));
    if let Some(subject) = stored.subject {
        response.insert_header(("OCI-Subject", subject.to_string()));
    }
    if !tags.is_empty() {
        let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
        response.insert_header((headers::OCI_TAG, tags.join(", ")));
    }
    Ok(response.finish())
}

/// Stores a manifest, and notes its events.
async fn store(
    registry: State,
    request: &HttpRequest,
    repository: &Repository,
    permission: ClaimPermission,
    push: ManifestPush,
) -> Result<PushResult, ApiError> {
    let (events, repository) = (events::of(request), repository.clone());
    let work = async move {
        let (bytes, tags) = (push.bytes.clone(), push.tags.clone());
        let stored = registry.put_manifest(&repository, permission, push).await?;
        let Some(mut events) = events else { return Ok(stored) };
        let manifest = EventManifest {
            digest: &stored.digest,
            media_type: &stored.media_type,
            size: bytes.len() as u64,
            bytes: Some(&bytes),
        };
        if tags.is_empty() {
            events.manifest(EventAction::Push, &repository, &manifest, None);
        }
        tags.iter().for_each(|tag| events.manifest(EventAction::Push, &repository, &manifest, Some(tag)));
        events.note().await?;
        Ok(stored)
    };
    events::to_the_end(request, work).await
}

/// Notes the event of a pulled manifest.
fn note_pull(request: &HttpRequest, repository: &Repository, reference: &Reference, manifest: &EventManifest<'_>) {
    let Some(mut events) = events::of(request) else { return };
    let tag = if let Reference::Tag(tag) = reference { Some(tag) } else { None };
    events.manifest(EventAction::Pull, repository, manifest, tag);
    events.note_pulls();
}

/// Notes the event of a HEAD request, which is a pull, too. What a mirrored manifest refers to is not fetched for it.
async fn note_head(
    registry: &Arc<Registry>,
    request: &HttpRequest,
    repository: &Repository,
    reference: &Reference,
    head: &Head,
) {
    let includes_references = context::settings(request).notifier.iter().any(|notifier| notifier.includes_references());
    let stored = match (includes_references, &repository.domain) {
        (true, None) => registry.manifest(repository, &Reference::Digest(head.digest)).await.ok(),
        _ => None,
    };
    let bytes = stored.as_ref().map(|(manifest, _)| &manifest.bytes[..]);
    let manifest = EventManifest { digest: &head.digest, media_type: &head.media_type, size: head.size, bytes };
    note_pull(request, repository, reference, &manifest);
}

fn event_of(manifest: &StoredManifest) -> EventManifest<'_> {
    let (media_type, size) = (manifest.media_type(), manifest.bytes.len() as u64);
    EventManifest { digest: &manifest.digest, media_type, size, bytes: Some(&manifest.bytes) }
}

/// Deletes a tag, or a manifest with all its tags.
pub(in crate::http) async fn delete(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    if let Some(mirrored) = extract::mirrored_for_delete(&registry, &request).await? {
        let reference = extract::reference(&request)?;
        registry.deletable()?;
        return purge(registry, PurgeTarget::Exact(mirrored, reference)).await;
    }
    let repository = extract::writable(&registry, &request, Action::Delete).await?;
    let reference = extract::reference(&request)?;
    registry.deletable()?;
    let events = events::of(&request);
    let delete = async move {
        let (digest, tags) = match reference {
            Reference::Tag(tag) => {
                registry.delete_tag(&repository, &tag).await?;
                (None, vec![tag])
            }
            Reference::Digest(digest) => (Some(digest), registry.delete_manifest(&repository, &digest).await?),
        };
        let Some(mut events) = events else { return Ok(()) };
        digest.iter().for_each(|digest| events.deleted(&repository, Some(digest), None));
        tags.iter().for_each(|tag| events.deleted(&repository, None, Some(tag)));
        events.note().await
    };
    events::to_the_end(&request, delete).await?;
    Ok(HttpResponse::Accepted().insert_header(API_VERSION).finish())
}

/// Purges a mirrored image: the next request asks the upstream.
async fn purge(registry: State, target: PurgeTarget) -> Result<HttpResponse, ApiError> {
    registry.has_index()?;
    let volume = State::clone(&registry);
    let purge = move |io: &Blocking| {
        volume.maintenance(io).purge(&[target], Mode::Remove, &mut |_| ControlFlow::Continue(())).map(drop)
    };
    let purged = registry.lanes().run(Lane::Job, purge).await.map_err(|_| registry::Error::Panicked)?;
    match purged {
        Err(registry::Error::NothingHere(_)) => Err(registry::Error::ManifestUnknown.into()),
        purged => Ok(purged.map(|()| HttpResponse::Accepted().insert_header(API_VERSION).finish())?),
    }
}

/// Reads the whole manifest.
async fn collect(request: &HttpRequest, body: Payload) -> Result<Bytes, ApiError> {
    let most = context::settings(request).limits.manifest.unwrap_or(usize::MAX);
    let bytes = request_body::collect(request, body, most).await?;
    bytes.ok_or_else(|| {
        let what = format!("refused a manifest of more than {most} bytes (http.limits.manifest)");
        limiter::warn(request, |limiter| &limiter.large, &what);
        ApiError::manifest_size(most)
    })
}

fn found(digest: &Digest, media_type: &MediaType, cache_status: CacheStatus) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    headers::describe(&mut response, digest, cache_status);
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header((header::CONTENT_TYPE, media_type.as_str()));
    response
}

fn not_modified(digest: &Digest, cache_status: CacheStatus) -> HttpResponse {
    let mut response = HttpResponse::NotModified();
    headers::describe(&mut response, digest, cache_status);
    response.insert_header(API_VERSION).finish()
}
