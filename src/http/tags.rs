//! `GET /v2/<name>/tags/list` (end-8).

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::{
    errors::Refusal,
    extract::{self, State},
    headers::{self, API_VERSION, NOSNIFF},
};
use crate::registry::List;

/// The upstream's list, its `Link` pointing back here.
pub(super) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let repository = extract::repository(&registry, &request)?;
    let query = extract::upstream_query(&request);
    let (page, provenance) = registry.clone().into_inner().list(&repository, List::Tags, &query).await?;
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
