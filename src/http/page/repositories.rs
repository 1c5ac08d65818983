//! The repositories: searched, sorted by name, size or last use, a page at a time.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::{address, frame::Frame, html, text};
use crate::{
    http::{
        auth::authorize,
        context::{self, State},
        errors::ApiError,
    },
    oci::{Action, Repository},
    registry::{BlobUsage, Registry, UsageSnapshot},
    units,
};

/// Repositories on a page: with the longest names it stays below 50 KiB.
const ROWS: usize = 50;
/// The longest wait for a count, before the page says that there is none yet.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest text that is searched for, in bytes.
const MAX_SEARCH_BYTES: usize = 255;

#[derive(Template)]
#[template(path = "repositories.html", config = "src/http/page/askama.toml")]
struct RepositoriesPage {
    frame: Frame,
    query: Query,
    /// `None` while the first count is made.
    found: Option<Found>,
}

struct Found {
    age: String,
    number: usize,
    rows: Vec<Row>,
    /// The number of the page, from 1, and the number of pages.
    page: usize,
    pages: usize,
}

struct Row {
    query: String,
    name: String,
    class: &'static str,
    size: String,
    exclusive: String,
    objects: u64,
    used: String,
}

/// The part of the list that the viewer asks for, and its order.
struct Query {
    search: String,
    class: ClassFilter,
    sort: Sort,
    page: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClassFilter {
    All,
    Hosted,
    Mirrored,
    Pinned,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    Size,
    Exclusive,
    Used,
}

impl ClassFilter {
    const ALL: [Self; 4] = [Self::All, Self::Hosted, Self::Mirrored, Self::Pinned];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Hosted => "hosted",
            Self::Mirrored => "mirrored",
            Self::Pinned => "pinned",
        }
    }

    fn takes(self, registry: &Registry, repository: &Repository) -> bool {
        match self {
            Self::All => true,
            Self::Hosted => repository.domain.is_none(),
            Self::Mirrored => repository.domain.is_some(),
            Self::Pinned => registry.is_pinned(repository),
        }
    }
}

impl Sort {
    const ALL: [Self; 4] = [Self::Name, Self::Size, Self::Exclusive, Self::Used];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Exclusive => "exclusive",
            Self::Used => "used",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Name => "Repository",
            Self::Size => "Size",
            Self::Exclusive => "Its own",
            Self::Used => "Last use",
        }
    }

    /// Sorts what is sorted by name already.
    fn sort(self, found: &mut [&(Repository, BlobUsage)]) {
        match self {
            Self::Name => {}
            Self::Size => found.sort_by_key(|(_, usage)| Reverse(usage.size)),
            Self::Exclusive => found.sort_by_key(|(_, usage)| Reverse(usage.exclusive)),
            Self::Used => found.sort_by_key(|(_, usage)| Reverse(usage.used)),
        }
    }
}

impl Query {
    fn of(request: &HttpRequest) -> Self {
        let parameter = |name| context::parameter(request, name).unwrap_or_default();
        let (class, sort) = (parameter("class"), parameter("sort"));
        let mut search = parameter("q").trim().to_lowercase();
        search.truncate(search.floor_char_boundary(MAX_SEARCH_BYTES));
        Self {
            search,
            class: ClassFilter::ALL.into_iter().find(|each| each.name() == class).unwrap_or(ClassFilter::All),
            sort: Sort::ALL.into_iter().find(|each| each.name() == sort).unwrap_or(Sort::Name),
            page: parameter("page").parse().unwrap_or(1).max(1),
        }
    }

    /// Returns the query of a link to another page.
    fn page_link(&self, page: usize) -> String {
        self.link(self.sort, page)
    }

    /// Returns the query of a link to the first page of another order.
    fn order_link(&self, sort: &Sort) -> String {
        self.link(*sort, 1)
    }

    fn link(&self, sort: Sort, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &self.search).append_pair("class", self.class.name());
        query.append_pair("sort", sort.name()).append_pair("page", &page.to_string()).finish()
    }

    fn takes(&self, registry: &Registry, repository: &Repository) -> bool {
        self.class.takes(registry, repository)
            && (self.search.is_empty() || repository.to_string().contains(&self.search))
    }
}

/// Shows the repositories that the viewer may pull from.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (registry, query) = (registry.into_inner(), Query::of(&request));
    let snapshot = registry.usage_snapshot(PATIENCE).await;
    let found = snapshot.map(|snapshot| find(&registry, &request, &query, &snapshot));
    Ok(html::page(&RepositoriesPage { frame: Frame::new(&request, "Repositories"), query, found }))
}

fn find(registry: &Arc<Registry>, request: &HttpRequest, query: &Query, snapshot: &UsageSnapshot) -> Found {
    let sees_all = authorize::may_everywhere(request, Action::Pull);
    let is_shown = |repository: &Repository| {
        query.takes(registry, repository) && (sees_all || authorize::may(request, repository, Action::Pull))
    };
    let mut found: Vec<_> = snapshot.repositories.iter().filter(|(repository, _)| is_shown(repository)).collect();
    query.sort.sort(&mut found);
    let pages = found.len().div_ceil(ROWS).max(1);
    let (page, now) = (query.page.min(pages), SystemTime::now());
    let rows = found.iter().skip((page - 1) * ROWS).take(ROWS);
    Found {
        age: text::since(snapshot.at, now),
        number: found.len(),
        rows: rows.map(|(repository, usage)| row(registry, repository, usage, now)).collect(),
        page,
        pages,
    }
}

fn row(registry: &Registry, repository: &Repository, usage: &BlobUsage, now: SystemTime) -> Row {
    let class = match &repository.domain {
        None => "hosted",
        Some(_) if registry.is_pinned(repository) => "pinned",
        Some(_) => "mirrored",
    };
    Row {
        query: address::query(repository),
        name: repository.to_string(),
        class,
        size: units::size(usage.size),
        exclusive: units::size(usage.exclusive),
        objects: usage.objects,
        used: usage.used.map_or_else(|| "–".to_owned(), |used| text::ago(used, now)),
    }
}
