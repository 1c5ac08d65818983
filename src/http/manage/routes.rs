//! The table of the management API's routes. A request is answered by this table alone.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Payload},
};
use bytes::Bytes;

use super::{content, guard};
use crate::http::{context::State, errors::ApiError, headers::NOSNIFF, transport::request_body};

/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 64 << 10;
/// The description of the API: OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Describe,
    List,
    Why,
    Purge,
    Refresh,
    Pins,
    Pin,
    Unpin,
    Evict,
    Remove,
}

/// Each operation with its method and its path below `/api/v1`.
const ROUTES: [(&str, &str, Operation); 10] = [
    ("GET", "/openapi.json", Operation::Describe),
    ("GET", "/repositories", Operation::List),
    ("GET", "/image", Operation::Why),
    ("POST", "/purge", Operation::Purge),
    ("POST", "/refresh", Operation::Refresh),
    ("GET", "/pins", Operation::Pins),
    ("POST", "/pin", Operation::Pin),
    ("POST", "/unpin", Operation::Unpin),
    ("POST", "/evict", Operation::Evict),
    ("POST", "/remove", Operation::Remove),
];

/// Adds the API below `prefix` (`/`, or `/some/path/`).
pub(in crate::http) fn configure(service: &mut web::ServiceConfig, prefix: &str) {
    let path = format!("{prefix}api/v1/{{rest:.*}}");
    service.service(web::resource(path).route(web::route().to(dispatch)));
}

async fn dispatch(registry: State, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    guard::is_user(&request)?;
    let operation = find(&request)?;
    let body = if request.method() == "POST" { read(&request, payload).await? } else { Bytes::new() };
    let mut response = match operation {
        Operation::Describe => HttpResponse::Ok().content_type("application/json").body(OPENAPI),
        Operation::List => content::list(registry, &request).await?,
        Operation::Why => content::why(registry, &request).await?,
        Operation::Purge => content::purge(registry, &request, &body).await?,
        Operation::Refresh => content::refresh(registry, &request, &body).await?,
        Operation::Pins => content::pins(&registry, &request).await?,
        Operation::Pin => content::pin(registry, &request, &body, true).await?,
        Operation::Unpin => content::pin(registry, &request, &body, false).await?,
        Operation::Evict => content::evict(registry, &request, &body).await?,
        Operation::Remove => content::remove(registry, &request, &body).await?,
    };
    response.headers_mut().insert(NOSNIFF.0, NOSNIFF.1);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the operation of a request.
fn find(request: &HttpRequest) -> Result<Operation, ApiError> {
    let rest = format!("/{}", request.match_info().get("rest").unwrap_or_default());
    let method = if request.method() == "HEAD" { "GET" } else { request.method().as_str() };
    let of_path = || ROUTES.iter().filter(|(_, path, _)| *path == rest);
    match of_path().find(|(known, ..)| *known == method) {
        Some((.., operation)) => Ok(*operation),
        None => Err(of_path().next().map_or_else(ApiError::no_such_path, |(known, ..)| {
            ApiError::unsupported(if *known == "GET" { "GET, HEAD" } else { "POST" })
        })),
    }
}

async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, ApiError> {
    guard::is_same_site(request)?;
    let body = request_body::collect(request, payload, MAX_BODY_BYTES).await?;
    body.ok_or_else(|| ApiError::form_size(MAX_BODY_BYTES))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each operation of the document exists, and each that exists is in the document.
    #[test]
    fn the_document_has_the_routes_that_exist() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let methods = |path: &String, item: &serde_json::Value| {
            item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        };
        let described: BTreeSet<_> = paths.iter().flat_map(|(path, item)| methods(path, item)).collect();
        let existing: BTreeSet<_> =
            ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(described, existing);
    }
}
