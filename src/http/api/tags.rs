//! `GET /v2/<name>/tags/list` (end-8): lists a repository's tags.

use std::sync::Arc;

use actix_web::{Error, HttpRequest, HttpResponse, error::ErrorInternalServerError, http::header};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

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
    oci::Repository,
    registry::{self, ListKind, NamePage, Registry},
};

/// Tags in one chunk of a streamed response.
const TAGS_A_CHUNK: usize = 1000;

/// Returns a page of tags.
pub(in crate::http) async fn list(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let repository = extract::repository(&registry, &request).await?;
    if repository.domain.is_none() {
        return hosted(registry.into_inner(), &request, repository).await;
    }
    let query = extract::upstream_query(&request)?;
    let registry = registry.into_inner();
    let (page, cache_status) = registry.list(&repository, ListKind::Tags, &query).await?;
    let served = http_metrics::answered(&registry, &repository, Content::List, cache_status);
    served.iter().for_each(|served| served.add(page.bytes.len() as u64));
    let mut response = HttpResponse::Ok();
    response
        .insert_header(API_VERSION)
        .insert_header(NOSNIFF)
        .insert_header(headers::cache_status(cache_status))
        .insert_header((header::CONTENT_TYPE, "application/json"));
    if let Some(next) = &page.link {
        response.insert_header((header::LINK, headers::next_link(&request, next)));
    }
    Ok(response.body(page.bytes.clone()))
}

async fn hosted(
    registry: Arc<Registry>,
    request: &HttpRequest,
    repository: Repository,
) -> Result<HttpResponse, ApiError> {
    // Without `n`, all tags are returned, as in `registry:2`.
    let most = match context::parameter(request, "n") {
        Some(_) => Some(extract::page_size(request, context::settings(request).tags_max)?),
        None => None,
    };
    let after = context::parameter(request, "last").unwrap_or_default();
    let page = registry.hosted_tags(&repository, &after, most).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(API_VERSION).insert_header(NOSNIFF);
    if most.is_none() && (page.more || page.names.len() > TAGS_A_CHUNK) {
        response.insert_header((header::CONTENT_TYPE, "application/json"));
        let list = TagStream::new(registry, repository, page);
        return Ok(response.streaming(stream::try_unfold(list, TagStream::next)));
    }
    if let (true, Some(last)) = (page.more, page.names.last()) {
        response.insert_header((header::LINK, location::next_page(request, last)));
    }
    Ok(response.json(json!({ "name": repository.name.as_str(), "tags": page.names })))
}

/// A long list of tags, streamed in chunks, so that it occupies no thread for long and is never completely in memory.
struct TagStream {
    registry: Arc<Registry>,
    repository: Repository,
    /// The tags fetched but not sent yet.
    names: std::vec::IntoIter<String>,
    /// True if there are more after these.
    more: bool,
    /// The last tag sent; `None` before the first.
    last: Option<String>,
    ended: bool,
}

impl TagStream {
    fn new(registry: Arc<Registry>, repository: Repository, page: NamePage) -> Self {
        Self { registry, repository, names: page.names.into_iter(), more: page.more, last: None, ended: false }
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        if self.ended {
            return Ok(None);
        }
        let begin = match self.last {
            None => format!(r#"{{"name":{},"tags":["#, json!(self.repository.name.as_str())),
            Some(_) => String::new(),
        };
        if let (0, true, Some(last)) = (self.names.len(), self.more, &self.last) {
            let page = self.registry.hosted_tags(&self.repository, last, None).await.map_err(|error| cut(&error))?;
            (self.names, self.more) = (page.names.into_iter(), page.more);
        }
        let piece: Vec<String> = self.names.by_ref().take(TAGS_A_CHUNK).collect();
        let separator = if self.last.is_some() && !piece.is_empty() { "," } else { "" };
        self.ended = self.names.len() == 0 && !self.more;
        let end = if self.ended { "]}" } else { "" };
        let names = serde_json::to_string(&piece).map_err(ErrorInternalServerError)?;
        self.last = piece.into_iter().last().or(self.last);
        Ok(Some((format!("{begin}{separator}{}{end}", &names[1..names.len() - 1]).into(), self)))
    }
}

/// Aborts the response: the status was already sent.
fn cut(error: &registry::Error) -> Error {
    tracing::warn!(%error, "tag list response cut off");
    ErrorInternalServerError("cut")
}
