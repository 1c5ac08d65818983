//! The responses of a registry without faults.

use std::{sync::atomic::Ordering, time::Instant};

use bytes::Bytes;

use super::{State, auth, deliver::Reply, record::Kind};
use crate::support::{images::Manifest, wire::Request};

pub(super) fn answer(state: &State, request: &Request, kind: Kind) -> Reply {
    let (name, reference) = split(&request.path);
    let vendor = state.options.lock().unwrap().vendor.clone();
    if let Some(reply) = vendor.and_then(|vendor| vendor.answer(state, request, kind, name)) {
        return reply;
    }
    if kind == Kind::Token {
        return state.auth.as_ref().map_or_else(|| Reply::error(404, "NOT_FOUND"), |tokens| tokens.answer(request));
    }
    if let Some(refusal) = basic(state, request) {
        return refusal;
    }
    let denied = state.options.lock().unwrap().denied.contains(name);
    if denied || state.auth.as_ref().is_some_and(|tokens| !tokens.admits(request, name)) {
        return auth::challenge(state, name);
    }
    let limits =
        account(state, request, kind).and_then(|limits| Ok([limits, pull_limit(state, request, kind)?].concat()));
    let limits = match limits {
        Ok(limits) => limits,
        Err(refusal) => return refusal,
    };
    let reply = match kind {
        Kind::Ping => Reply::json(&serde_json::json!({})),
        Kind::Manifest => manifest(state, request, name, reference),
        Kind::Blob => blob_or_redirect(state, request, name, reference),
        Kind::Tags => tags(state, request, name),
        Kind::Referrers => referrers(state, name, reference),
        Kind::Token | Kind::Cdn | Kind::Other => Reply::error(404, "NOT_FOUND"),
    };
    let reply = reply.with("Docker-Distribution-Api-Version", "registry/2.0");
    limits.into_iter().fold(reply, |reply, (name, value)| reply.with(name, &value))
}

/// Counts a request for the limit of all clients. Returns the limit's headers, or the refusal.
fn pull_limit(state: &State, request: &Request, kind: Kind) -> Result<Vec<(&'static str, String)>, Reply> {
    let Some((limit, window)) = state.options.lock().unwrap().pull_limit.filter(|_| kind == Kind::Manifest) else {
        return Ok(Vec::new());
    };
    let mut pulls = state.pulls.lock().unwrap();
    pulls.retain(|pull| pull.elapsed() < window);
    if request.method == "GET" {
        if pulls.len() as u64 >= limit {
            let wait = window - pulls[0].elapsed();
            return Err(Reply::error(429, "TOOMANYREQUESTS").with("Retry-After", &(wait.as_secs() + 1).to_string()));
        }
        pulls.push_back(Instant::now());
    }
    let value = |amount: u64| format!("{amount};w={}", window.as_secs());
    let remaining = limit - pulls.len() as u64;
    Ok(vec![("ratelimit-limit", value(limit)), ("ratelimit-remaining", value(remaining))])
}

/// Returns the refusal of a request without the user and password that all must send.
fn basic(state: &State, request: &Request) -> Option<Reply> {
    let (user, password) = state.options.lock().unwrap().basic?;
    let is_right = request.basic() == Some((user.to_owned(), password.to_owned()));
    (!is_right).then(|| Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"upstream\""))
}

/// Counts a request for its account. Returns the headers of the account's rate limit, or the refusal.
fn account(state: &State, request: &Request, kind: Kind) -> Result<Vec<(&'static str, String)>, Reply> {
    let accounts = &mut state.options.lock().unwrap().accounts;
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let user = request.basic().map(|(user, _)| user);
    let Some(account) = accounts.iter_mut().find(|account| Some(account.user) == user.as_deref()) else {
        return Err(Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"upstream\""));
    };
    if kind == Kind::Manifest && request.method == "GET" {
        if account.remaining == 0 {
            return Err(Reply::error(429, "TOOMANYREQUESTS"));
        }
        account.remaining -= 1;
    }
    let value = |amount: u64| format!("{amount};w=21600");
    Ok(vec![("ratelimit-limit", value(account.limit)), ("ratelimit-remaining", value(account.remaining))])
}

/// `/v2/<name>/<noun>/<reference>`; the name may be empty.
fn split(path: &str) -> (&str, &str) {
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    ["/manifests/", "/blobs/", "/referrers/", "/tags/"]
        .iter()
        .find_map(|noun| rest.rsplit_once(noun))
        .unwrap_or_default()
}

fn manifest(state: &State, request: &Request, name: &str, reference: &str) -> Reply {
    let found = state.content.lock().unwrap().manifest(name, reference);
    let Some(manifest) = found else { return Reply::error(404, "MANIFEST_UNKNOWN") };
    let options = state.options.lock().unwrap();
    if options.no_digest_header && request.method == "HEAD" {
        return Reply::error(404, "MANIFEST_UNKNOWN");
    }
    let mut reply = if accepts(request, &manifest) {
        Reply::body(200, manifest.bytes.clone()).with("Content-Type", &manifest.media_type)
    } else {
        return Reply::error(404, "MANIFEST_UNKNOWN");
    };
    if !options.no_digest_header {
        reply = reply.with("Docker-Content-Digest", &manifest.digest).with("ETag", &format!("\"{}\"", manifest.digest));
    }
    let Some(limit) = options.rate_limit else { return reply };
    let cost = u64::from(request.method == "GET");
    let used = state.counted.fetch_add(cost, Ordering::SeqCst) + cost;
    let remaining = limit.saturating_sub(used);
    reply
        .with("ratelimit-limit", &format!("{limit};w=21600"))
        .with("ratelimit-remaining", &format!("{remaining};w=21600"))
}

/// Returns whether the request's `Accept` includes the type, by docker-registry's rule for an OCI index.
fn accepts(request: &Request, manifest: &Manifest) -> bool {
    let accept = request.header("accept").unwrap_or_else(|| "*/*".to_owned());
    accept.split(',').any(|range| {
        let range = range.split(';').next().unwrap().trim();
        range == manifest.media_type || range == "*/*" || range == "application/*"
    })
}

fn blob_or_redirect(state: &State, request: &Request, name: &str, digest: &str) -> Reply {
    let found = state.content.lock().unwrap().blob(name, digest);
    let Some(bytes) = found else { return Reply::error(404, "BLOB_UNKNOWN") };
    match &state.cdn {
        Some(links) => links.redirect(digest),
        None => blob(request, &blob_etag(state, digest), digest, bytes, state.options.lock().unwrap().ignores_ranges),
    }
}

/// The `ETag` of the next response with a blob.
fn blob_etag(state: &State, digest: &str) -> String {
    match state.options.lock().unwrap().new_etags {
        true => format!("\"{}\"", state.counted.fetch_add(1, Ordering::SeqCst)),
        false => content_etag(digest),
    }
}

pub(super) fn content_etag(digest: &str) -> String {
    format!("\"{digest}\"")
}

/// The blob or the requested range of it.
pub(super) fn blob(request: &Request, etag: &str, digest: &str, bytes: Bytes, ignores_ranges: bool) -> Reply {
    let unchanged = request.header("if-range").is_none_or(|value| value == etag);
    let range = request.header("range").filter(|_| unchanged && !ignores_ranges);
    let size = bytes.len();
    let reply = match range.map(|value| bounds(&value, size)) {
        None => Reply::body(200, bytes),
        Some(None) => Reply::empty(416).with("Content-Range", &format!("bytes */{size}")),
        Some(Some((first, last))) => Reply::body(206, bytes)
            .starting_at(first, last + 1)
            .with("Content-Range", &format!("bytes {first}-{last}/{size}")),
    };
    let reply = reply.with("Content-Type", "application/octet-stream").with("ETag", etag);
    reply.with("Accept-Ranges", "bytes").with("Docker-Content-Digest", digest)
}

/// First and last byte of a single range.
fn bounds(value: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        return Some((size.checked_sub(last.parse().ok()?)?, size - 1));
    }
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { size - 1 } else { last.parse::<usize>().ok()?.min(size - 1) };
    (first <= last).then_some((first, last))
}

fn tags(state: &State, request: &Request, name: &str) -> Reply {
    let Some(mut tags) = state.content.lock().unwrap().tags(name) else { return Reply::error(404, "NAME_UNKNOWN") };
    if let Some(last) = request.parameter("last") {
        tags.retain(|tag| *tag > last);
    }
    let options = state.options.lock().unwrap();
    let asked = request.parameter("n").and_then(|n| n.parse().ok());
    let Some(page) = asked.into_iter().chain(options.page).min() else { return list(name, &tags) };
    if tags.len() <= page {
        return list(name, &tags);
    }
    tags.truncate(page);
    let host = if options.absolute_links { state.url.as_str() } else { "" };
    let link = format!("<{host}/v2/{name}/tags/list?last={}&n={page}>; rel=\"next\"", tags.last().unwrap());
    list(name, &tags).with("Link", &link)
}

fn list(name: &str, tags: &[String]) -> Reply {
    Reply::json(&serde_json::json!({ "name": name, "tags": tags }))
}

fn referrers(state: &State, name: &str, subject: &str) -> Reply {
    let found = state.content.lock().unwrap().referrers(name, subject);
    match found {
        Some(index) => Reply::body(200, index).with("Content-Type", "application/vnd.oci.image.index.v1+json"),
        None => Reply::error(404, "NOT_FOUND"),
    }
}
