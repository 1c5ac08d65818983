//! One image: its state in the cache, its platforms or layers, its configuration, and what refers to it.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::{
    address,
    frame::Frame,
    html,
    image_config::{self, ImageConfig},
    text,
};
use crate::{
    http::{auth::authorize, context::State, errors::ApiError, transport::forwarded},
    lanes::{Blocking, Lane},
    oci::{Action, Reference, Repository},
    registry::{self, Completeness, Error, EvictionState, ImagePart, ImageParts, ImageReport, Registry, Timestamp},
    units,
};

/// Other repositories of a layer that are named; of more, the number is told.
const NAMED_OTHERS: usize = 3;

#[derive(Template)]
#[template(path = "image.html", config = "src/http/page/askama.toml")]
struct ImagePage {
    frame: Frame,
    /// The query of the repository, and its name.
    query: String,
    repository: String,
    pull: String,
    state: Vec<(&'static str, String)>,
    children: Vec<ChildRow>,
    is_index: bool,
    annotations: Vec<(String, String)>,
    config: Option<ImageConfig>,
    referrers: Vec<String>,
}

struct ChildRow {
    digest: String,
    /// The platform of a manifest, or the type of a blob.
    kind: String,
    size: String,
    is_here: bool,
    others: String,
}

/// Shows an image of a repository that the viewer may pull from.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let asked = address::repository(&request).zip(address::reference(&request));
    let Some((repository, reference)) = asked else { return Ok(html::not_found(&request)) };
    let (look, place, wanted) = (registry.clone(), repository.clone(), reference.clone());
    let found = registry.lanes().run(Lane::Browse, move |io| find(&look, io, &place, &wanted)).await;
    let Some((parts, report)) = found.map_err(|_| registry::Error::ShuttingDown)?? else {
        return Ok(html::not_found(&request));
    };
    Ok(html::page(&page(&request, &repository, &reference, &parts, &report)))
}

fn find(
    registry: &Registry,
    io: &Blocking,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<(ImageParts, ImageReport)>, Error> {
    let maintenance = registry.maintenance(io);
    let Some(parts) = maintenance.image_parts(repository, reference)? else { return Ok(None) };
    Ok(Some((parts, maintenance.report(repository, reference)?)))
}

fn page(
    request: &HttpRequest,
    repository: &Repository,
    reference: &Reference,
    parts: &ImageParts,
    report: &ImageReport,
) -> ImagePage {
    let image = repository.image(reference);
    let (_, host) = forwarded::called(request);
    ImagePage {
        frame: Frame::new(request, image.clone()),
        query: address::query(repository),
        repository: repository.to_string(),
        pull: format!("docker pull {host}/{image}"),
        state: state(parts, report),
        children: parts.children.iter().map(|part| child(request, part)).collect(),
        is_index: !parts.manifest.manifest.manifests.is_empty(),
        annotations: image_config::annotations(&parts.manifest.bytes),
        config: parts.config.as_deref().and_then(ImageConfig::parse),
        referrers: parts.referrers.iter().map(ToString::to_string).collect(),
    }
}

fn state(parts: &ImageParts, report: &ImageReport) -> Vec<(&'static str, String)> {
    let now = SystemTime::now();
    let mut rows =
        vec![("Manifest", parts.manifest.digest.to_string()), ("Type", parts.manifest.manifest.media_type.to_string())];
    let ago = |Timestamp(at): Timestamp| text::ago(at, now);
    if let Some(state) = &report.content {
        let missing = state.missing.bytes;
        rows.push((
            "Content",
            match state.state {
                Completeness::Complete => "complete".to_owned(),
                Completeness::Partial => format!("partial: {} were never asked for here", units::size(missing)),
                Completeness::Holes => format!("holes: {} are missing", units::size(missing)),
            },
        ));
        rows.push((
            "Size",
            format!(
                "{} in {} blobs, {} of it its own",
                units::size(state.size),
                state.objects,
                units::size(state.exclusive)
            ),
        ));
        rows.push(("Tags", state.tags.join(", ")));
        rows.extend(state.since.map(|since| ("Here since", ago(since))));
        rows.extend(state.last_used.map(|used| ("Last use", ago(used))));
        rows.push(("Eviction", eviction(&state.eviction)));
    }
    rows.extend(
        report
            .freshness
            .and_then(|tag| tag.believed_until)
            .map(|until| ("Served without asking until", until.to_string())),
    );
    rows
}

fn eviction(state: &EvictionState) -> String {
    match state {
        EvictionState::Hosted => "never: it was pushed here".to_owned(),
        EvictionState::Pinned => "never: its repository is pinned".to_owned(),
        EvictionState::Leased { until } => format!("not before {until}"),
        EvictionState::Queued { position, of, bytes_before } => {
            format!("place {position} of {of}, after {}", units::size(*bytes_before))
        }
        EvictionState::Held => "not now: all of it is in use".to_owned(),
    }
}

fn child(request: &HttpRequest, part: &ImagePart) -> ChildRow {
    let descriptor = &part.descriptor;
    let may_see = |other: &&Repository| authorize::may(request, other, Action::Pull);
    let seen: Vec<_> = part.others.iter().filter(may_see).map(ToString::to_string).collect();
    let mut others = seen.iter().take(NAMED_OTHERS).cloned().collect::<Vec<_>>().join(", ");
    if seen.len() > NAMED_OTHERS {
        others += &format!(" and {} more", seen.len() - NAMED_OTHERS);
    }
    ChildRow {
        digest: descriptor.digest.to_string(),
        kind: descriptor.platform.as_ref().map_or_else(|| descriptor.media_type.to_string(), ToString::to_string),
        size: units::size(descriptor.size),
        is_here: part.allocated.is_some(),
        others,
    }
}
