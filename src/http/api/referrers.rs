//! `GET /v2/<name>/referrers/<digest>` (end-12a, end-12b): lists the manifests that refer to a subject.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header};

use super::extract;
use crate::{
    http::{
        context::{self, State},
        errors::ApiError,
        headers::{self, API_VERSION, NOSNIFF},
        ops::http_metrics,
        transport::location,
    },
    metrics::Content,
    oci::{Digest, MediaType, Repository},
    registry::{ListKind, Registry},
};

const FILTERS_APPLIED: &str = "OCI-Filters-Applied";

/// Returns an image index of the referrers.
pub(in crate::http) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let repository = extract::repository(&registry, &request).await?;
    let digest = extract::digest(&request)?;
    if repository.domain.is_none() {
        return hosted(&registry, &request, &repository, &digest).await;
    }
    let query = extract::upstream_query(&request)?;
    let registry = registry.into_inner();
    let (page, cache_status) = registry.list(&repository, ListKind::Referrers(digest), &query).await?;
    let served = http_metrics::answered(&registry, &repository, Content::List, cache_status);
    served.iter().for_each(|served| served.add(page.bytes.len() as u64));
    let mut response = found();
    response.insert_header(headers::cache_status(cache_status));
    if let Some(filters) = &page.filters {
        response.insert_header((FILTERS_APPLIED, filters.as_str()));
    }
    if let Some(next) = &page.link {
        response.insert_header((header::LINK, headers::next_link(&request, next)));
    }
    Ok(response.body(page.bytes.clone()))
}

async fn hosted(
    registry: &Registry,
    request: &HttpRequest,
    repository: &Repository,
    subject: &Digest,
) -> Result<HttpResponse, ApiError> {
    let wanted = context::parameter(request, "artifactType").filter(|wanted| !wanted.is_empty());
    let after = context::parameter(request, "last").unwrap_or_default();
    let page = registry.hosted_referrers(repository, subject, wanted.as_deref(), &after).await?;
    let mut response = found();
    if wanted.is_some() {
        response.insert_header((FILTERS_APPLIED, "artifactType"));
    }
    if let Some(next) = page.next {
        response.insert_header((header::LINK, location::next_page(request, &next.to_string())));
    }
    let descriptors = page.descriptors.join(",");
    let media_type = MediaType::OCI_INDEX;
    Ok(response.body(format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{descriptors}]}}"#)))
}

fn found() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header((header::CONTENT_TYPE, MediaType::OCI_INDEX));
    response
}
