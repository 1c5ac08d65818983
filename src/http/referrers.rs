//! `GET /v2/<name>/referrers/<digest>` (end-12a, end-12b).

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::{
    errors::Refusal,
    extract::{self, State},
    headers::{self, API_VERSION, NOSNIFF},
};
use crate::{oci::MediaType, registry::List};

/// The upstream's index of what refers to a manifest, its `Link` pointing back here.
pub(super) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let repository = extract::repository(&registry, &request)?;
    let list = List::Referrers(extract::digest(&request)?);
    let query = extract::upstream_query(&request);
    let (page, provenance) = registry.clone().into_inner().list(&repository, list, &query).await?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header(headers::cache_status(provenance))
        .insert_header((header::CONTENT_TYPE, MediaType::OCI_INDEX));
    if let Some(filters) = &page.filters {
        response.insert_header(("OCI-Filters-Applied", filters.as_str()));
    }
    if let Some(next) = &page.link {
        response.insert_header((header::LINK, headers::next_link(&request, next)));
    }
    Ok(response.body(page.bytes.clone()))
}
