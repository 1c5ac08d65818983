//! `GET /v2/_catalog`, a Docker endpoint that the OCI spec does not define: lists the repositories of this registry, or
//! those of one mirrored registry with `ns`. If pushes are disabled, it lists those mirrored from Docker Hub.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::extract;
use crate::{
    http::{
        auth::authorize,
        context::{self, State},
        errors::ApiError,
        headers::{API_VERSION, NOSNIFF},
        transport::location,
    },
    registry::NamePage,
};

/// Returns a page of repository names.
pub(in crate::http) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    // A list of all mirrored repositories would reveal to every client the pulls of the others.
    if context::is_mirror(&request) {
        return Err(ApiError::name_unknown());
    }
    let homes = registry.catalogued(extract::named_registry(&request).as_deref())?;
    let most = extract::page_size(&request, context::settings(&request).catalog_max)?;
    let after = context::parameter(&request, "last").unwrap_or_default();
    let mut pages = Vec::new();
    for home in homes {
        let shown = authorize::visible_repositories(&request, home.clone())?;
        pages.push(registry.catalog(home.as_ref(), &after, most, shown).await?);
    }
    let page = NamePage::merged(pages, most);
    let mut response = HttpResponse::Ok();
    response.insert_header(API_VERSION).insert_header(NOSNIFF);
    if let (true, Some(last)) = (page.more, page.names.last()) {
        response.insert_header((header::LINK, location::next_page(&request, last)));
    }
    Ok(response.json(json!({ "repositories": page.names })))
}
