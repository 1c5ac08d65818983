//! `GET /v2/<name>/tags/list` (end-8).

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::{
    errors::Refusal,
    extract::{self, State},
    headers::{self, API_VERSION, NOSNIFF},
    location, measure,
};
use crate::{
    metrics::Content,
    oci::Repository,
    registry::{List, Registry},
};

/// A page of tags.
pub(super) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let repository = extract::repository(&registry, &request).await?;
    if repository.domain.is_none() {
        return hosted(&registry, &request, &repository).await;
    }
    let query = extract::upstream_query(&request)?;
    let registry = registry.into_inner();
    let (page, provenance) = registry.list(&repository, List::Tags, &query).await?;
    let served = measure::answered(&registry, &repository, Content::List, provenance);
    served.iter().for_each(|served| served.add(page.bytes.len() as u64));
    let mut response = HttpResponse::Ok();
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header(headers::cache_status(provenance))
        .insert_header((header::CONTENT_TYPE, "application/json"));
    if let Some(next) = &page.link {
        response.insert_header((header::LINK, headers::next_link(&request, next)));
    }
    Ok(response.body(page.bytes.clone()))
}

async fn hosted(registry: &Registry, request: &HttpRequest, repository: &Repository) -> Result<HttpResponse, Refusal> {
    // All of them, as `registry:2` has it, to whoever asks for no page.
    let most = match extract::parameter(request, "n") {
        Some(_) => extract::page_size(request, extract::settings(request).tags_max)?,
        None => usize::MAX,
    };
    let after = extract::parameter(request, "last").unwrap_or_default();
    let page = registry.hosted_tags(repository, &after, most).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(API_VERSION).insert_header(NOSNIFF);
    if let (true, Some(last)) = (page.more, page.names.last()) {
        response.insert_header((header::LINK, location::next_page(request, last)));
    }
    Ok(response.json(json!({ "name": repository.name.as_str(), "tags": page.names })))
}
