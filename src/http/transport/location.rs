//! URLs that point back here: `Location` and `Link`.

use actix_web::HttpRequest;

use super::forwarded;
use crate::{
    http::context,
    oci::{Digest, RepositoryName, UploadId},
};

/// Where a blob is.
pub(in crate::http) fn blob(request: &HttpRequest, name: &RepositoryName, digest: &Digest) -> String {
    url(request, &format!("v2/{name}/blobs/{digest}"))
}

/// Where a manifest is.
pub(in crate::http) fn manifest(request: &HttpRequest, name: &RepositoryName, reference: &str) -> String {
    url(request, &format!("v2/{name}/manifests/{reference}"))
}

/// Where an upload session goes on.
pub(in crate::http) fn upload(request: &HttpRequest, name: &RepositoryName, id: UploadId) -> String {
    url(request, &format!("v2/{name}/blobs/uploads/{id}"))
}

/// Where our own token service is.
pub(in crate::http) fn token(request: &HttpRequest) -> String {
    let settings = context::settings(request);
    match &settings.host {
        Some(host) => format!("{}/token", host.trim_end_matches('/')),
        None => on_host(request, &format!("{}token", settings.prefix)),
    }
}

/// A path of this server's, by the name the client used: also where URLs are relative otherwise, which a realm cannot be.
pub(in crate::http) fn on_host(request: &HttpRequest, path: &str) -> String {
    let (scheme, host) = forwarded::called(request);
    format!("{scheme}://{host}{path}")
}

/// `Link` to the next page of the list a request asked for (RFC 8288): its own query with `last` set, and `n` where the
/// request had one.
pub(in crate::http) fn next_page(request: &HttpRequest, last: &str) -> String {
    let own = url::form_urlencoded::parse(request.query_string().as_bytes()).filter(|(key, _)| key != "last");
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(own).append_pair("last", last).finish();
    format!("<{}?{query}>; rel=\"next\"", request.path())
}

/// Every client takes a relative reference; `registry:2` writes absolute ones unless it is told otherwise, and so does
/// this, by the name the client used. `http.host`, where it is set, is the whole beginning, prefix included.
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
