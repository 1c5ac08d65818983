//! `/v2/<name>/blobs/uploads/` (end-4a, 4b, 5, 6, 11, 13): blob uploads and mounts.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
    web::Payload,
};

use super::extract;
use crate::{
    http::{
        auth::{audit, authorize},
        context::{self, State},
        errors::ApiError,
        headers::{API_VERSION, DOCKER_CONTENT_DIGEST},
        ops::events::{self, Events},
        transport::{
            forwarded::client_address,
            limiter::limiter,
            location, request_body,
            upload_limit::{UploadPermit, Uploader},
        },
    },
    notifications::EventAction,
    oci::{Action, Algorithm, Digest, Repository, UploadId},
    registry::{Error, Registry, UploadWriter},
};

/// Starts an upload session. `?mount=` links a blob of another repository instead; `?digest=` uploads the body in one
/// request.
pub(in crate::http) async fn post(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    // Checked first, so that a refused upload costs no request to the upstream.
    let permit = permit(&request)?;
    registry.begin_push(&repository).await?;
    // An invalid `mount` digest falls back to an upload.
    if let Ok(Some(digest)) = extract::digest_parameter(&request, "mount") {
        if mounted(&registry, &request, &repository, digest).await? {
            return Ok(created(&request, &repository, &digest));
        }
    } else if let Some(digest) = extract::digest_parameter(&request, "digest")? {
        let unanswered = begin(&registry, &repository, digest.algorithm()).await?;
        let writer = registry.receive(&repository, unanswered.id, None).await?;
        let writer = receive(&request, writer, body).await?;
        commit(&registry, &request, &repository, writer, digest).await??;
        unanswered.answered();
        return Ok(created(&request, &repository, &digest));
    }
    let algorithm = match context::parameter(&request, "digest-algorithm").as_deref() {
        Some("sha512") => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    };
    let id = begin(&registry, &repository, algorithm).await?.answered();
    if let Some(permit) = permit {
        permit.taken_by(id);
    }
    Ok(session(StatusCode::ACCEPTED, &request, &repository, id, 0).finish())
}

/// Appends a chunk.
pub(in crate::http) async fn patch(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let (repository, id) = session_of(&registry, &request).await?;
    let start = extract::chunk_start(&request)?;
    let writer = match registry.receive(&repository, id, start).await {
        Ok(writer) => writer,
        Err(error) => return refuse_chunk(&request, &repository, id, error, body).await,
    };
    note_upload(&request, id);
    let received = receive(&request, writer, body).await?.finish().await?;
    Ok(session(StatusCode::ACCEPTED, &request, &repository, id, received).finish())
}

/// Commits an upload as a blob, and notes its event. The inner result is that of the commit, after which the session
/// may have ended.
async fn commit(
    registry: &State,
    request: &HttpRequest,
    repository: &Repository,
    writer: UploadWriter,
    digest: Digest,
) -> Result<Result<(), Error>, ApiError> {
    let (events, registry, repository) = (events::of(request), registry.clone(), repository.clone());
    let work = async move {
        if let Err(error) = registry.commit(writer, digest).await {
            return Ok(Err(error));
        }
        note(&registry, events, EventAction::Push, &repository, &digest, None).await?;
        Ok(Ok(()))
    };
    events::to_the_end(request, work).await
}

/// Notes the event of a blob that was pushed or mounted.
async fn note(
    registry: &Registry,
    events: Option<Events>,
    action: EventAction,
    repository: &Repository,
    digest: &Digest,
    from: Option<&Repository>,
) -> Result<(), ApiError> {
    let Some(mut events) = events else { return Ok(()) };
    let (size, _) = registry.blob_size(repository, digest, false).await?;
    events.blob(action, repository, digest, size, from);
    events.note().await
}

/// Appends the last chunk, if any, and commits the upload as the blob `?digest=`.
pub(in crate::http) async fn put(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let (repository, id) = session_of(&registry, &request).await?;
    let digest = extract::digest_parameter(&request, "digest")?.ok_or_else(ApiError::digest_missing)?;
    let start = extract::chunk_start(&request)?;
    match registry.receive(&repository, id, start).await {
        Ok(writer) => {
            let writer = receive(&request, writer, body).await?;
            let committed = commit(&registry, &request, &repository, writer, digest).await;
            // Without its event, the session has ended all the same.
            if matches!(committed, Ok(Ok(()) | Err(Error::DigestInvalid { .. })) | Err(_)) {
                end(&request, id);
            }
            committed??;
            Ok(created(&request, &repository, &digest))
        }
        Err(error) => refuse_chunk(&request, &repository, id, error, body).await,
    }
}

/// Returns the number of bytes received.
pub(in crate::http) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, id) = session_of(&registry, &request).await?;
    let received = registry.upload_received(&repository, id).await?;
    Ok(session(StatusCode::NO_CONTENT, &request, &repository, id, received).finish())
}

/// Cancels an upload session.
pub(in crate::http) async fn delete(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (repository, id) = session_of(&registry, &request).await?;
    registry.cancel_upload(&repository, id).await?;
    end(&request, id);
    Ok(HttpResponse::NoContent().insert_header(API_VERSION).finish())
}

/// Returns the session that the path names, and its repository.
async fn session_of(registry: &Registry, request: &HttpRequest) -> Result<(Repository, UploadId), ApiError> {
    Ok((extract::writable(registry, request, Action::Push).await?, extract::upload(request)?))
}

/// A session whose ID the client has not received yet. Unless it is answered, it is abandoned on drop, because no
/// client could continue it. A committed session has ended already.
struct UnansweredUpload {
    registry: State,
    repository: Repository,
    id: UploadId,
    answered: bool,
}

/// Starts a session. The ID is generated here, so that it is known for cleanup even if the request is cancelled
/// meanwhile.
async fn begin(registry: &State, repository: &Repository, algorithm: Algorithm) -> Result<UnansweredUpload, ApiError> {
    let id = UploadId::random();
    let unanswered =
        UnansweredUpload { registry: registry.clone(), repository: repository.clone(), id, answered: false };
    registry.begin_upload(repository, id, algorithm).await?;
    Ok(unanswered)
}

impl UnansweredUpload {
    /// Marks that the client gets the session's ID or its result.
    fn answered(mut self) -> UploadId {
        self.answered = true;
        self.id
    }
}

impl Drop for UnansweredUpload {
    fn drop(&mut self) {
        if !self.answered {
            self.registry.clone().into_inner().abandon_upload(&self.repository, self.id);
        }
    }
}

async fn mounted(registry: &State, request: &HttpRequest, into: &Repository, digest: Digest) -> Result<bool, ApiError> {
    let Some(from) = context::parameter(request, "from") else {
        // Mounting from any repository requires permission to pull from all: a digest alone must not grant access.
        return Ok(
            authorize::may_everywhere(request, Action::Pull) && mount(registry, request, into, digest, None).await?
        );
    };
    // An invalid name has no blobs: an upload session is started instead.
    let Ok(name) = from.parse() else { return Ok(false) };
    let from = extract::blob_source(registry, request, name, &digest).await?;
    let mounted =
        authorize::may(request, &from, Action::Pull) && mount(registry, request, into, digest, Some(&from)).await?;
    if mounted {
        audit::note_source(request, &from);
    }
    Ok(mounted)
}

/// Mounts a blob, and notes its event.
async fn mount(
    registry: &State,
    request: &HttpRequest,
    into: &Repository,
    digest: Digest,
    from: Option<&Repository>,
) -> Result<bool, ApiError> {
    let (events, registry, into, from) = (events::of(request), registry.clone(), into.clone(), from.cloned());
    let work = async move {
        let mounted = registry.mount(&into, digest, from.as_ref()).await?;
        if mounted {
            note(&registry, events, EventAction::Mount, &into, &digest, from.as_ref()).await?;
        }
        Ok(mounted)
    };
    events::to_the_end(request, work).await
}

/// Writes a body to the upload. If it ends early, the bytes so far are kept, and the client may resume.
async fn receive(request: &HttpRequest, mut writer: UploadWriter, mut body: Payload) -> Result<UploadWriter, ApiError> {
    if let Err(error) = expect(request, &mut writer).await {
        drop(writer);
        request_body::drain(body).await;
        return Err(error.into());
    }
    while let Some(bytes) = request_body::piece(request, &mut body).await? {
        let bytes = bytes.map_err(|error| {
            tracing::debug!(%error, "upload interrupted");
            ApiError::cut()
        })?;
        if let Err(error) = writer.take(bytes).await {
            drop(writer);
            request_body::drain(body).await;
            return Err(error.into());
        }
    }
    Ok(writer)
}

/// Reserves an upload for this client; `None` without limits.
fn permit(request: &HttpRequest) -> Result<Option<UploadPermit<'_>>, ApiError> {
    limiter(request).map(|limiter| limiter.begin_upload(&uploader(request))).transpose()
}

fn note_upload(request: &HttpRequest, id: UploadId) {
    if let Some(limiter) = limiter(request) {
        limiter.uploads.note(uploader(request), id);
    }
}

fn uploader(request: &HttpRequest) -> Uploader {
    Uploader::new(context::caller(request).who, client_address(request))
}

fn end(request: &HttpRequest, id: UploadId) {
    if let Some(limiter) = limiter(request) {
        limiter.uploads.end(id);
    }
}

/// Reserves disk space for a body of known length.
async fn expect(request: &HttpRequest, writer: &mut UploadWriter) -> Result<(), Error> {
    match context::content_length(request) {
        Some(length) => writer.expect(length).await,
        None => Ok(()),
    }
}

/// Refuses a chunk after reading the body, so that the client can read the response.
async fn refuse_chunk(
    request: &HttpRequest,
    repository: &Repository,
    id: UploadId,
    error: Error,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    request_body::drain(body).await;
    let Error::UploadRange { received } = error else { return Err(error.into()) };
    let mut refused = actix_web::ResponseError::error_response(&ApiError::from(error));
    let current = session(StatusCode::RANGE_NOT_SATISFIABLE, request, repository, id, received).finish();
    for (name, value) in current.headers() {
        refused.headers_mut().insert(name.clone(), value.clone());
    }
    Ok(refused)
}

fn session(
    status: StatusCode,
    request: &HttpRequest,
    repository: &Repository,
    id: UploadId,
    received: u64,
) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header(API_VERSION)
        .insert_header((header::LOCATION, location::upload(request, &repository.name, id)))
        // The range's end is inclusive, so 0 bytes and 1 byte are both `0-0`, as in other registries.
        .insert_header((header::RANGE, format!("0-{}", received.saturating_sub(1))))
        .insert_header(("Docker-Upload-UUID", id.to_string()));
    response
}

fn created(request: &HttpRequest, repository: &Repository, digest: &Digest) -> HttpResponse {
    HttpResponse::Created()
        .insert_header(API_VERSION)
        .insert_header((header::LOCATION, location::blob(request, &repository.name, digest)))
        .insert_header((DOCKER_CONTENT_DIGEST, digest.to_string()))
        .finish()
}
