//! The operations of the management API, each by the function that its command calls.

use std::ops::ControlFlow;

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::guard;
use crate::{
    access::Action,
    http::{
        auth::authorize,
        context::{self, State},
        errors::ApiError,
    },
    lanes::{Blocking, Lane},
    oci::{Domain, ImageName, NamePattern, Reference, Repository},
    registry::{self, ImageError, ListEvent, Listing, Maintenance, Mode, PurgeTarget, Selection},
};

/// The most repositories on a page.
const MAX_PAGE_REPOSITORIES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    images: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageBody {
    image: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternsBody {
    patterns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvictBody {
    to: u64,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveBody {
    name: String,
    #[serde(default)]
    dry_run: bool,
}

/// `GET /repositories`: those that the caller may manage.
pub(super) async fn list(registry: State, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let selection = context::parameter(request, "pattern").map(|text| parse(&text, Selection::parse)).transpose()?;
    let limit = context::parameter(request, "n").map(|n| n.parse::<usize>()).transpose();
    let limit = limit.map_err(|_| ApiError::page_size())?.unwrap_or(MAX_PAGE_REPOSITORIES);
    let after = context::parameter(request, "last").map(|last| repository(&last)).transpose()?;
    let listing = Listing { selection, after, limit: Some(limit.min(MAX_PAGE_REPOSITORIES)) };
    let is_shown = authorize::manageable(request);
    let work = move |volume: &Maintenance<'_>| {
        let mut repositories = Vec::new();
        let listed = volume.list(&listing, &is_shown, &mut |event| {
            if let ListEvent::Repository(listed) = event {
                repositories.push(listed);
            }
            ControlFlow::Continue(())
        });
        listed.map(|listed| (listed, repositories))
    };
    let (listed, repositories) = look(&registry, work).await??;
    Ok(HttpResponse::Ok().json(json!({ "at": listed.at, "repositories": repositories, "more": listed.more })))
}

/// `GET /image?name=`: the state of an image.
pub(super) async fn why(registry: State, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let name = context::parameter(request, "name").unwrap_or_default();
    let image = image(&name)?;
    manages_image(&registry, request, &image).await?;
    let (_, report) = look(&registry, move |volume| volume.why(&image)).await??;
    Ok(HttpResponse::Ok().json(report))
}

/// `POST /purge`
pub(super) async fn purge(registry: State, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse, ApiError> {
    let PurgeBody { images, dry_run } = read(body)?;
    let targets = images.iter().map(|text| PurgeTarget::parse(text).map_err(ApiError::invalid));
    let targets = targets.collect::<Result<Vec<_>, _>>()?;
    for target in &targets {
        match target {
            PurgeTarget::Image(image) => manages_image(&registry, request, image).await?,
            PurgeTarget::Selection(_) | PurgeTarget::Exact(..) => guard::manages_everything(request)?,
        }
    }
    let work = move |volume: &Maintenance<'_>| {
        let mut repositories = Vec::new();
        let purged = volume.purge(&targets, Mode::new(dry_run), &mut |purged| {
            repositories.push(purged);
            ControlFlow::Continue(())
        });
        purged.map(|purged| (purged, repositories))
    };
    let (purged, repositories) = run(&registry, work).await??;
    Ok(HttpResponse::Ok().json(json!({ "repositories": repositories, "total": purged })))
}

/// `POST /refresh`
pub(super) async fn refresh(registry: State, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse, ApiError> {
    let ImageBody { image: name } = read(body)?;
    let (repository, reference) = registry.addressed(&image(&name)?).await.map_err(image_error)?;
    authorize::permit(request, &repository, Action::Manage)?;
    let Reference::Tag(tag) = reference else {
        return Err(ApiError::invalid("a digest always means the same bytes: name a tag"));
    };
    let refreshed = registry.into_inner().refresh(&repository, &tag).await?;
    Ok(HttpResponse::Ok().json(refreshed))
}

/// `GET /pins`
pub(super) async fn pins(registry: &State, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    guard::manages_everything(request)?;
    let (configured, added) = look(registry, |volume: &Maintenance<'_>| volume.pins()).await?;
    let written = |pins: Vec<NamePattern>| pins.iter().map(ToString::to_string).collect::<Vec<_>>();
    Ok(HttpResponse::Ok().json(json!({ "configured": written(configured), "added": written(added) })))
}

/// `POST /pin` and `POST /unpin`
pub(super) async fn pin(
    registry: State,
    request: &HttpRequest,
    body: &[u8],
    is_added: bool,
) -> Result<HttpResponse, ApiError> {
    let PatternsBody { patterns } = read(body)?;
    guard::manages_everything(request)?;
    let patterns: Vec<NamePattern> = patterns.iter().map(|text| parse(text, str::parse)).collect::<Result<_, _>>()?;
    let change = move |volume: &Maintenance<'_>| match is_added {
        true => volume.pin(&patterns),
        false => volume.unpin(&patterns),
    };
    run(&registry, change).await??;
    pins(&registry, request).await
}

/// `POST /evict`
pub(super) async fn evict(registry: State, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse, ApiError> {
    let EvictBody { to, dry_run } = read(body)?;
    guard::manages_everything(request)?;
    let evicted = run(&registry, move |volume| volume.evict_to(to, Mode::new(dry_run))).await??;
    Ok(HttpResponse::Ok().json(evicted))
}

/// `POST /remove`: a hosted repository, or one tag of it.
pub(super) async fn remove(registry: State, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse, ApiError> {
    let RemoveBody { name, dry_run } = read(body)?;
    let (name, tag) = name.split_once(':').map_or((name.as_str(), None), |(name, tag)| (name, Some(tag)));
    let tag = tag.map(|tag| tag.parse().map_err(ApiError::tag)).transpose()?;
    let hosted = Repository { domain: None, name: name.parse()? };
    authorize::permit(request, &hosted, Action::Manage)?;
    registry.deletable()?;
    let name = registry.writable(hosted.name).await?.name;
    let (image, mode) = (tag.as_ref().map_or(name.to_string(), |tag| format!("{name}:{tag}")), Mode::new(dry_run));
    let work = move |volume: &Maintenance<'_>| match &tag {
        Some(tag) => volume.remove_tag(&name, tag, mode),
        None => volume.remove(&name, mode),
    };
    let removed = run(&registry, work).await??;
    let registry::Removed { tags, manifests, links } = removed;
    let report = json!({ "name": image, "tags": tags, "manifests": manifests, "links": links, "dry_run": dry_run });
    Ok(HttpResponse::Ok().json(report))
}

/// Changes the volume.
async fn run<T: Send + 'static>(
    registry: &State,
    work: impl FnOnce(&Maintenance<'_>) -> T + Send + 'static,
) -> Result<T, ApiError> {
    run_on(Lane::Job, registry, work).await
}

/// Reads from the volume.
async fn look<T: Send + 'static>(
    registry: &State,
    work: impl FnOnce(&Maintenance<'_>) -> T + Send + 'static,
) -> Result<T, ApiError> {
    run_on(Lane::Browse, registry, work).await
}

/// Runs work on the volume. It does not wait for an index that is being made: the threads that make it may be needed.
async fn run_on<T: Send + 'static>(
    lane: Lane,
    registry: &State,
    work: impl FnOnce(&Maintenance<'_>) -> T + Send + 'static,
) -> Result<T, ApiError> {
    registry.has_index()?;
    let volume = State::clone(registry);
    let done = registry.lanes().run(lane, move |io: &Blocking| work(&volume.maintenance(io))).await;
    done.map_err(|_| registry::Error::Panicked.into())
}

/// Checks that the caller may manage the repository of an image.
async fn manages_image(registry: &State, request: &HttpRequest, image: &ImageName) -> Result<(), ApiError> {
    let image = image.clone();
    let (repository, _) = look(registry, move |volume| volume.address(&image)).await??;
    authorize::permit(request, &repository, Action::Manage)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(format!("the body is not as described: {error}")))
}

fn image(text: &str) -> Result<ImageName, ApiError> {
    text.parse().map_err(|error| ApiError::invalid(format!("{text:?} is no image: {error}")))
}

fn parse<T, E: std::fmt::Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, ApiError> {
    parse(text).map_err(|error| ApiError::invalid(format!("{text:?}: expected {error}")))
}

/// Parses the full name of a repository.
fn repository(text: &str) -> Result<Repository, ApiError> {
    match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => {
            let domain: Domain = first.parse().map_err(|error| ApiError::invalid(format!("{text:?}: {error}")))?;
            Ok(Repository { domain: Some(domain), name: rest.parse()? })
        }
        _ => Ok(Repository { domain: None, name: text.parse()? }),
    }
}

fn image_error(error: ImageError) -> ApiError {
    match error {
        ImageError::NotMirrored(domain) => registry::Error::NotMirrored(domain).into(),
        ImageError::Registry(error) => error.into(),
        _ => registry::Error::ManifestUnknown.into(),
    }
}
