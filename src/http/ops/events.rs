//! Notes the events of a request for the receivers of notifications. Without receivers nothing is done.

use std::{sync::Arc, time::SystemTime};

use actix_web::{HttpRequest, http::header};
use uuid::Uuid;

use crate::{
    http::{
        context,
        errors::ApiError,
        transport::{forwarded, location},
    },
    notifications::{self, Actor, Event, EventAction, Notifier, RequestRecord, Target},
    oci::{Digest, Domain, MediaType, Repository, Tag},
    registry,
};

/// The media type of every blob in an event, as in registry:2.
const BINARY: &str = "application/octet-stream";

/// The events of one request.
pub(in crate::http) struct Events {
    notifier: Arc<Notifier>,
    request: HttpRequest,
    record: RequestRecord,
    actor: Actor,
    noted: Vec<Event>,
}

/// A manifest that an event is about.
pub(in crate::http) struct EventManifest<'a> {
    pub(in crate::http) digest: &'a Digest,
    pub(in crate::http) media_type: &'a MediaType,
    pub(in crate::http) size: u64,
    /// Its bytes, if they are at hand.
    pub(in crate::http) bytes: Option<&'a [u8]>,
}

/// Returns the collector of a request's events; `None` if nobody is to get them.
pub(in crate::http) fn of(request: &HttpRequest) -> Option<Events> {
    let notifier = context::settings(request).notifier.clone()?;
    let agent = context::header(request, &header::USER_AGENT).unwrap_or_default();
    let record = RequestRecord {
        id: Uuid::new_v4().to_string(),
        addr: forwarded::client_with_port(request),
        host: forwarded::called(request).1,
        method: request.method().to_string(),
        useragent: agent.to_owned(),
    };
    let actor = Actor { name: context::caller(request).who.name().unwrap_or_default().to_owned() };
    Some(Events { notifier, request: request.clone(), record, actor, noted: Vec::new() })
}

/// Runs work that changes something and notes its events to its end, even if the client goes away meanwhile: what was
/// done has its event then.
///
/// # Errors
/// The error of the work; an [`ApiError`] with 500 if it panicked.
pub(in crate::http) async fn to_the_end<T: 'static>(
    request: &HttpRequest,
    work: impl Future<Output = Result<T, ApiError>> + 'static,
) -> Result<T, ApiError> {
    match context::settings(request).notifier {
        Some(_) => actix_web::rt::spawn(work).await.unwrap_or_else(|_| Err(registry::Error::Panicked.into())),
        None => work.await,
    }
}

impl Events {
    /// Adds the push or pull of a manifest.
    pub(in crate::http) fn manifest(
        &mut self,
        action: EventAction,
        repository: &Repository,
        manifest: &EventManifest<'_>,
        tag: Option<&Tag>,
    ) {
        let bytes = manifest.bytes.filter(|_| self.notifier.includes_references());
        let name = name(repository);
        self.add(
            action,
            Target {
                media_type: manifest.media_type.to_string(),
                size: manifest.size,
                length: manifest.size,
                digest: manifest.digest.to_string(),
                url: location::path(&self.request, &format!("v2/{name}/manifests/{}", manifest.digest)),
                tag: tag.map(ToString::to_string).unwrap_or_default(),
                references: bytes.map(notifications::references).unwrap_or_default(),
                repository: name,
                ..Target::default()
            },
        );
    }

    /// Adds the push, pull or mount of a blob.
    pub(in crate::http) fn blob(
        &mut self,
        action: EventAction,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        from: Option<&Repository>,
    ) {
        let repository = name(repository);
        self.add(
            action,
            Target {
                media_type: BINARY.to_owned(),
                size,
                length: size,
                digest: digest.to_string(),
                url: location::path(&self.request, &format!("v2/{repository}/blobs/{digest}")),
                from_repository: from.map(name).unwrap_or_default(),
                repository,
                ..Target::default()
            },
        );
    }

    /// Adds the deletion of a blob, manifest or tag.
    pub(in crate::http) fn deleted(&mut self, repository: &Repository, digest: Option<&Digest>, tag: Option<&Tag>) {
        self.add(
            EventAction::Delete,
            Target {
                digest: digest.map(ToString::to_string).unwrap_or_default(),
                tag: tag.map(ToString::to_string).unwrap_or_default(),
                repository: name(repository),
                ..Target::default()
            },
        );
    }

    fn add(&mut self, action: EventAction, target: Target) {
        let (request, actor) = (self.record.clone(), self.actor.clone());
        self.noted.push(Event { timestamp: SystemTime::now(), action, target, request, actor });
    }

    /// Puts the events on the disk.
    ///
    /// # Errors
    /// An [`ApiError`] with 403 or 500 if that fails: what the request did must not be acknowledged without them.
    pub(in crate::http) async fn note(self) -> Result<(), ApiError> {
        self.notifier.note(&self.noted).await.map_err(ApiError::not_noted)
    }

    /// Hands over pull events, without waiting for anything.
    pub(in crate::http) fn note_pulls(self) {
        self.noted.iter().for_each(|event| self.notifier.note_pull(event));
    }
}

/// Returns a repository's name as clients of this registry ask for it: without `docker.io`, as in registry:2.
fn name(repository: &Repository) -> String {
    match &repository.domain {
        Some(domain) if *domain != Domain::docker_hub() => repository.to_string(),
        _ => repository.name.to_string(),
    }
}
