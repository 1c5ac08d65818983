//! URLs of this server, for `Location`, `Link` and the token realm.

use actix_web::HttpRequest;

use super::forwarded;
use crate::{
    http::context,
    oci::{Digest, RepositoryName, UploadId},
};

/// Returns a blob's URL.
pub(in crate::http) fn blob(request: &HttpRequest, name: &RepositoryName, digest: &Digest) -> String {
    url(request, &format!("v2/{name}/blobs/{digest}"))
}

/// Returns a manifest's URL.
pub(in crate::http) fn manifest(request: &HttpRequest, name: &RepositoryName, reference: &str) -> String {
    url(request, &format!("v2/{name}/manifests/{reference}"))
}

/// Returns the URL of a path of the API.
pub(in crate::http) fn path(request: &HttpRequest, path: &str) -> String {
    url(request, path)
}

/// Returns an upload session's URL.
pub(in crate::http) fn upload(request: &HttpRequest, name: &RepositoryName, id: UploadId) -> String {
    url(request, &format!("v2/{name}/blobs/uploads/{id}"))
}

/// Returns the built-in token service's URL.
pub(in crate::http) fn token(request: &HttpRequest) -> String {
    let settings = context::settings(request);
    match &settings.host {
        Some(host) => format!("{}/token", host.trim_end_matches('/')),
        None => on_host(request, &format!("{}token", settings.prefix)),
    }
}

/// Returns an absolute URL with the host that the client used. A token realm is absolute even if `relative_urls` is
/// set.
pub(in crate::http) fn on_host(request: &HttpRequest, path: &str) -> String {
    let (scheme, host) = forwarded::called(request);
    format!("{scheme}://{host}{path}")
}

/// Returns a `Link` to the next page of the requested list (RFC 8288): the request's query with `last` replaced.
pub(in crate::http) fn next_page(request: &HttpRequest, last: &str) -> String {
    let own = url::form_urlencoded::parse(request.query_string().as_bytes()).filter(|(key, _)| key != "last");
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(own).append_pair("last", last).finish();
    format!("<{}?{query}>; rel=\"next\"", request.path())
}

/// Returns an absolute URL with the host that the client used, as `registry:2` does, or a relative one if configured.
/// `http.host`, if set, replaces scheme, host and prefix.
fn url(request: &HttpRequest, path: &str) -> String {
    let settings = context::settings(request);
    if let Some(host) = &settings.host {
        return format!("{}/{path}", host.trim_end_matches('/'));
    }
    let path = format!("{}{path}", settings.prefix);
    if settings.relative_urls {
        return path;
    }
    on_host(request, &path)
}
