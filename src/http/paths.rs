//! Normalizes request paths as the router of registry:2 does. A path with empty or dotted segments, or with a trailing
//! slash, is redirected (301) to the normal form; an escaped slash counts as a slash.
//!
//! This middleware runs before anything else reads the path, so that rules, routes and probes see only one spelling.

use std::fmt::Write as _;

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Uri, header,
        uri::{InvalidUri, PathAndQuery},
    },
    middleware::Next,
};

use super::{context, headers::API_VERSION};

pub(super) const ROOT: &str = "/";
pub(super) const ALIVE: &str = "/healthz";
pub(super) const READY: &str = "/readyz";

/// Returns true if the path is a probe's.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, ALIVE | READY)
}

/// Redirects a path that is not normalized, and replaces `%2F` with a slash.
pub(super) async fn normalize(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let prefix = &context::settings(request.request()).prefix;
    match Spelling::of(request.path(), prefix) {
        Spelling::Plain => {}
        Spelling::Escaped(path) => respell(&mut request, &path),
        Spelling::Elsewhere(path) => {
            let location = with_query(&path, request.query_string());
            let moved = HttpResponse::MovedPermanently()
                .insert_header(API_VERSION)
                .insert_header((header::LOCATION, location))
                .finish();
            return Ok(request.into_response(moved));
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

#[derive(Debug, PartialEq, Eq)]
enum Spelling {
    Plain,
    /// The path contains escaped slashes; this is the path with plain ones.
    Escaped(String),
    /// The path is not normalized; this is the normal form.
    Elsewhere(String),
}

impl Spelling {
    fn of(path: &str, prefix: &str) -> Self {
        if is_plain(path) {
            return Self::Plain;
        }
        // Paths that are not UTF-8, and `OPTIONS *`, are left to the handlers.
        let Some(decoded) = decoded(path).filter(|decoded| decoded.starts_with('/')) else { return Self::Plain };
        let plain = plain(&decoded, prefix);
        if plain != decoded {
            return Self::Elsewhere(escaped(&plain));
        }
        let slashes = path.replace("%2F", "/").replace("%2f", "/");
        if slashes == path { Self::Plain } else { Self::Escaped(slashes) }
    }
}

/// Returns whether a path is surely normalized: almost all are, and this needs no memory.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let is_odd = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    bytes.first() == Some(&b'/')
        && bytes.last() != Some(&b'/')
        && !bytes.contains(&b'%')
        && !bytes.windows(2).any(is_odd)
}

/// Returns the path without empty and dotted segments, and without a trailing slash unless the API has one there.
fn plain(path: &str, prefix: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let plain = format!("/{}", segments.join("/"));
    let is_api = plain.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("v2/"));
    let keeps_its_slash = !is_api || plain.ends_with("/blobs/uploads");
    let has_slash = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    if has_slash && keeps_its_slash && plain != "/" { plain + "/" } else { plain }
}

fn decoded(path: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes all characters that RFC 3986, section 3.3 does not allow in a path.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,;=".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Replaces the request's path. A path that is not valid in a URI is left unchanged.
fn respell(request: &mut ServiceRequest, path: &str) {
    let uri = || -> Result<Uri, InvalidUri> {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(with_query(path, request.query_string()))?);
        Ok(Uri::from_parts(parts).unwrap_or_else(|_| request.uri().clone()))
    };
    if let Ok(uri) = uri() {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_is_plain() {
        for path in [
            "/",
            "/healthz",
            "/v2/",
            "/v2",
            "/v2/a/b/tags/list",
            "/v2/a/blobs/uploads/",
            "/v2/a/blobs/uploads",
            "/v2/a/blobs/sha256%3Aab",
            "/v2/a/manifests/%ff",
            "/v2/a/manifests/100%",
            "/elsewhere/",
            "*",
        ] {
            assert_eq!(Spelling::of(path, "/"), Spelling::Plain, "{path}");
        }
        for (path, slashes) in [
            ("/v2/a%2Fb/tags/list", "/v2/a/b/tags/list"),
            ("/v2%2fa/blobs%2Fuploads%2f", "/v2/a/blobs/uploads/"),
            ("/v2/a%2Fb/manifests/%20", "/v2/a/b/manifests/%20"),
        ] {
            assert_eq!(Spelling::of(path, "/"), Spelling::Escaped(slashes.into()), "{path}");
        }
    }

    #[test]
    fn the_others_lead_to_it() {
        for (path, plain) in [
            ("//", "/"),
            ("//v2/", "/v2/"),
            ("//v2", "/v2"),
            ("/v2//", "/v2/"),
            ("/%2Fv2/", "/v2/"),
            ("//evil.example/..", "/"),
            ("//evil.example", "/evil.example"),
            ("/\\evil.example//", "/%5Cevil.example/"),
            ("/v2/a/tags/list/", "/v2/a/tags/list"),
            ("/v2/_catalog/", "/v2/_catalog"),
            ("/v2/_catalog%2F", "/v2/_catalog"),
            ("/v2/a//b/manifests/1", "/v2/a/b/manifests/1"),
            ("/v2/a/./manifests/x/../1", "/v2/a/manifests/1"),
            ("/v2/a/%2e%2e/b/manifests/%3F?", "/v2/b/manifests/%3F%3F"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/v2/a/blobs/uploads//", "/v2/a/blobs/uploads/"),
        ] {
            assert_eq!(Spelling::of(path, "/"), Spelling::Elsewhere(plain.into()), "{path}");
        }
        assert_eq!(Spelling::of("/r/v2/a/tags/list/", "/r/"), Spelling::Elsewhere("/r/v2/a/tags/list".into()));
        assert_eq!(Spelling::of("/r/v2/", "/r/"), Spelling::Plain);
        assert_eq!(Spelling::of("/v2/a/tags/list/", "/r/"), Spelling::Plain, "none of the API's");
    }
}
