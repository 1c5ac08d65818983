//! One repository: its tags, with what they take.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::{address, frame::Frame, html, text};
use crate::{
    http::{
        context::{self, State},
        errors::ApiError,
    },
    lanes::Lane,
    registry::{self, Completeness, ListedRepository, ListedTag, Timestamp},
    units,
};

/// Tags on a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "repository.html", config = "src/http/page/askama.toml")]
struct RepositoryPage {
    frame: Frame,
    /// The query of the repository.
    query: String,
    usage: String,
    is_pinned: bool,
    number: usize,
    rows: Vec<Row>,
    page: usize,
    pages: usize,
}

struct Row {
    tag: String,
    digest: String,
    size: String,
    exclusive: String,
    used: String,
    since: String,
    state: &'static str,
}

/// Shows a repository's tags, those that changed last first.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let Some(repository) = address::repository(&request) else { return Ok(html::not_found(&request)) };
    let (look, wanted) = (registry.clone(), repository.clone());
    let listed = registry.lanes().run(Lane::Browse, move |io| look.maintenance(io).repository(&wanted)).await;
    let found = listed.map_err(|_| registry::Error::ShuttingDown)??;
    let Some(found) = found else { return Ok(html::not_found(&request)) };
    Ok(html::page(&page(&request, address::query(&repository), found)))
}

fn page(request: &HttpRequest, query: String, mut found: ListedRepository) -> RepositoryPage {
    found.tags.sort_by(|one, other| other.since.cmp(&one.since).then_with(|| one.tag.cmp(&other.tag)));
    let wanted = context::parameter(request, "page").and_then(|page| page.parse().ok()).unwrap_or(1);
    let pages = found.tags.len().div_ceil(ROWS).max(1);
    let (page, now) = (usize::clamp(wanted, 1, pages), SystemTime::now());
    let usage = format!(
        "{} in {} blobs, {} of it its own",
        units::size(found.size),
        found.objects,
        units::size(found.exclusive)
    );
    RepositoryPage {
        frame: Frame::new(request, found.repository),
        query,
        usage,
        is_pinned: found.pinned,
        number: found.tags.len(),
        rows: found.tags.iter().skip((page - 1) * ROWS).take(ROWS).map(|tag| row(tag, now)).collect(),
        page,
        pages,
    }
}

fn row(tag: &ListedTag, now: SystemTime) -> Row {
    let ago = |time: Option<Timestamp>| time.map_or_else(|| "–".to_owned(), |Timestamp(at)| text::ago(at, now));
    let state = match tag.state {
        Completeness::Complete => "complete",
        Completeness::Partial => "partial",
        Completeness::Holes => "holes",
    };
    Row {
        tag: tag.tag.clone(),
        digest: tag.digest.clone(),
        size: units::size(tag.size),
        exclusive: units::size(tag.exclusive),
        used: ago(tag.last_used),
        since: ago(tag.since),
        state,
    }
}
