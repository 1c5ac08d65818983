//! `/v2/<name>/blobs/uploads/` (end-4a, 4b, 5, 6, 11, 13): blobs on their way in.

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
        transport::{
            forwarded::client_address,
            limiter::limiter,
            location, request_body,
            upload_limit::{UploadPermit, Uploader},
        },
    },
    oci::{Action, Algorithm, Digest, Repository, UploadId},
    registry::{Error, Registry, UploadWriter},
};

/// Begins a session, or does all in one: `?mount=` links what another repository has, `?digest=` uploads the body.
pub(in crate::http) async fn post(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    // First: what is refused for want of room costs the upstream no question.
    let place = place(&request)?;
    registry.begin_push(&repository).await?;
    // What cannot be mounted, for being no digest at all, is uploaded.
    if let Ok(Some(digest)) = extract::digest_parameter(&request, "mount") {
        if mounted(&registry, &request, &repository, digest).await? {
            return Ok(created(&request, &repository, &digest));
        }
    } else if let Some(digest) = extract::digest_parameter(&request, "digest")? {
        let unanswered = begin(&registry, &repository, digest.algorithm()).await?;
        let receiving = registry.receive(&repository, unanswered.id, None).await?;
        registry.commit(receive(&request, receiving, body).await?, digest).await?;
        unanswered.answered();
        return Ok(created(&request, &repository, &digest));
    }
    let algorithm = match context::parameter(&request, "digest-algorithm").as_deref() {
        Some("sha512") => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    };
    let id = begin(&registry, &repository, algorithm).await?.answered();
    if let Some(place) = place {
        place.taken_by(id);
    }
    Ok(session(StatusCode::ACCEPTED, &request, &repository, id, 0).finish())
}

/// Adds a chunk.
pub(in crate::http) async fn patch(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    let id = extract::upload(&request)?;
    let start = extract::chunk_start(&request)?;
    let receiving = match registry.receive(&repository, id, start).await {
        Ok(receiving) => receiving,
        Err(error) => return refuse_chunk(&request, &repository, id, error, body).await,
    };
    note(&request, id);
    let received = receive(&request, receiving, body).await?.finish().await?;
    Ok(session(StatusCode::ACCEPTED, &request, &repository, id, received).finish())
}

/// Adds the last chunk, if there is one, and ends the session: `?digest=` says what it must have become.
pub(in crate::http) async fn put(
    registry: State,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    let id = extract::upload(&request)?;
    let digest = extract::digest_parameter(&request, "digest")?.ok_or_else(ApiError::digest_missing)?;
    let start = extract::chunk_start(&request)?;
    match registry.receive(&repository, id, start).await {
        Ok(receiving) => {
            let committed = registry.commit(receive(&request, receiving, body).await?, digest).await;
            if matches!(committed, Ok(()) | Err(Error::DigestInvalid { .. })) {
                end(&request, id);
            }
            committed?;
            Ok(created(&request, &repository, &digest))
        }
        Err(error) => refuse_chunk(&request, &repository, id, error, body).await,
    }
}

/// How far a session has come.
pub(in crate::http) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    let id = extract::upload(&request)?;
    let received = registry.upload_received(&repository, id).await?;
    Ok(session(StatusCode::NO_CONTENT, &request, &repository, id, received).finish())
}

/// Gives a session up.
pub(in crate::http) async fn delete(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let repository = extract::writable(&registry, &request, Action::Push).await?;
    let id = extract::upload(&request)?;
    registry.cancel_upload(&repository, id).await?;
    end(&request, id);
    Ok(HttpResponse::NoContent().insert_header(API_VERSION).finish())
}

/// A session whose name its client was never told: however the request ends, nobody goes on with it. One that was committed
/// has ended already.
struct UnansweredUpload {
    registry: State,
    repository: Repository,
    id: UploadId,
    answered: bool,
}

/// Begins a session. Its name is made here, so that it is known to whoever leaves before it is there.
async fn begin(registry: &State, repository: &Repository, algorithm: Algorithm) -> Result<UnansweredUpload, ApiError> {
    let id = UploadId::random();
    let unanswered =
        UnansweredUpload { registry: registry.clone(), repository: repository.clone(), id, answered: false };
    registry.begin_upload(repository, id, algorithm).await?;
    Ok(unanswered)
}

impl UnansweredUpload {
    /// Its client is told of it, or of what has become of it.
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

async fn mounted(
    registry: &Registry,
    request: &HttpRequest,
    into: &Repository,
    digest: Digest,
) -> Result<bool, ApiError> {
    let Some(from) = context::parameter(request, "from") else {
        // From wherever it is: what the caller may not read must not be had by its digest.
        return Ok(authorize::may_everywhere(request, Action::Pull) && registry.mount(into, digest, None).await?);
    };
    // A name that is none has no blobs: the upload goes on without.
    let Ok(name) = from.parse() else { return Ok(false) };
    let from = extract::blob_source(registry, request, name, &digest).await?;
    let mounted = authorize::may(request, &from, Action::Pull) && registry.mount(into, digest, Some(&from)).await?;
    if mounted {
        audit::note_source(request, &from);
    }
    Ok(mounted)
}

/// Takes a body as it comes. One that ends early is an error, and what came of it is kept: the client may go on.
async fn receive(
    request: &HttpRequest,
    mut receiving: UploadWriter,
    mut body: Payload,
) -> Result<UploadWriter, ApiError> {
    if let Err(error) = expect(request, &receiving).await {
        drop(receiving);
        request_body::drain(body).await;
        return Err(error.into());
    }
    while let Some(bytes) = request_body::piece(request, &mut body).await? {
        let bytes = bytes.map_err(|error| {
            tracing::debug!("an upload broke off: {error}");
            ApiError::cut()
        })?;
        if let Err(error) = receiving.take(bytes).await {
            drop(receiving);
            request_body::drain(body).await;
            return Err(error.into());
        }
    }
    Ok(receiving)
}

/// Room for another upload of this client's; `None` where there are no limits.
fn place(request: &HttpRequest) -> Result<Option<UploadPermit<'_>>, ApiError> {
    limiter(request).map(|limiter| limiter.begin_upload(&uploader(request))).transpose()
}

fn note(request: &HttpRequest, id: UploadId) {
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

/// Makes sure of room for a body whose length is announced.
async fn expect(request: &HttpRequest, receiving: &UploadWriter) -> Result<(), Error> {
    match context::content_length(request) {
        Some(length) => receiving.expect(length).await,
        None => Ok(()),
    }
}

/// Refuses a chunk, reading past it so that the client hears why.
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
    let standing = session(StatusCode::RANGE_NOT_SATISFIABLE, request, repository, id, received).finish();
    for (name, value) in standing.headers() {
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
        // Its end is inclusive; nothing received looks like one byte, in this notation, and everybody writes it so.
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
