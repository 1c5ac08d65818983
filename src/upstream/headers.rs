//! Parsers for the relevant response headers. They are tolerant: a malformed header counts as absent.

use std::time::{Duration, SystemTime};

use awc::http::header::{CONTENT_RANGE, HeaderMap, LINK, RETRY_AFTER};
use url::Url;

use crate::{
    metrics::PullRateLimit,
    oci::{ContentRange, Digest},
};

/// An address or an identifier has fewer characters.
const MAX_SOURCE_CHARS: usize = 64;

/// Returns a header's value as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the rate limit of a response (`ratelimit-limit`, `ratelimit-remaining` and `docker-ratelimit-source`, as of
/// Docker Hub), if it has one.
pub(super) fn pull_rate_limit(headers: &HeaderMap) -> Option<PullRateLimit> {
    let (limit, window) = parse_limit(text(headers, "ratelimit-limit")?)?;
    let (remaining, other) = parse_limit(text(headers, "ratelimit-remaining")?)?;
    let source = text(headers, "docker-ratelimit-source").map(|source| source.chars().take(MAX_SOURCE_CHARS).collect());
    Some(PullRateLimit { limit, remaining, window: window.or(other), source })
}

/// Parses `100;w=21600`, or `100`.
fn parse_limit(header: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = header.split(',').next()?.split(';').map(str::trim);
    let amount = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")).and_then(|seconds| seconds.parse().ok());
    Some((amount, window.map(Duration::from_secs)))
}

/// Parses `Retry-After`, in seconds or as a date; returns a day at most.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
    let header = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match header.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Returns the response's `Content-Range`, if it is valid.
pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    text(headers, CONTENT_RANGE.as_str())?.parse().ok()
}

/// Returns `Docker-Content-Digest`, which some registries omit.
pub(super) fn digest(headers: &HeaderMap) -> Option<Digest> {
    text(headers, "docker-content-digest")?.trim().parse().ok()
}

/// Returns whether a response names another digest than the requested one. Digests of two algorithms may be of one
/// blob.
pub(super) fn names_another(headers: &HeaderMap, asked: &Digest) -> bool {
    digest(headers).is_some_and(|named| named.algorithm() == asked.algorithm() && named != *asked)
}

/// Returns the query of the `Link` with `rel="next"`, which requests the next page.
pub(super) fn next_query(headers: &HeaderMap, page: &Url) -> Option<String> {
    headers.get_all(LINK).filter_map(|link| link.to_str().ok()).find_map(|link| next_in(link, page))
}

fn next_in(header: &str, page: &Url) -> Option<String> {
    let mut rest = header;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, after)| after.split_once('>')) {
        let params = after.split_once('<').map_or(after, |(params, _)| params);
        if is_next(params) {
            return page.join(target).ok()?.query().map(str::to_owned);
        }
        rest = after;
    }
    None
}

fn is_next(params: &str) -> bool {
    params.split([';', ',']).filter_map(|param| param.trim().split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
    })
}

#[cfg(test)]
mod tests {
    use awc::http::header::HeaderValue;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn budgets_come_with_and_without_a_window() {
        assert_eq!(parse_limit("100;w=21600"), Some((100, Some(Duration::from_secs(21600)))));
        assert_eq!(parse_limit(" 76 ; w=x"), Some((76, None)));
        assert_eq!(parse_limit("many"), None);
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let page = Url::parse("https://r.example/v2/a/tags/list").unwrap();
        let next = |header| next_in(header, &page);
        assert_eq!(next("</v2/a/tags/list?n=2&last=b>; rel=\"next\"").as_deref(), Some("n=2&last=b"));
        assert_eq!(next("<https://r.example/x?p>; rel=prev, <?n=1>; foo=1; REL=next").as_deref(), Some("n=1"));
        assert_eq!(next("</v2/a/tags/list?n=2>; rel=\"last\""), None);
        assert_eq!(next("<<>"), None);
    }

    proptest! {
        #[test]
        fn what_an_upstream_says_never_panics(any in "\\PC*", pieces in vec("[a-z<>;,=\"0-9/?: -]{0,6}", 0..16)) {
            let page = Url::parse("https://r.example/v2/a/tags/list").unwrap();
            for text in [any, pieces.concat()] {
                next_in(&text, &page);
                parse_limit(&text);
                let Ok(value) = HeaderValue::try_from(&text) else { continue };
                let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
                prop_assert!(retry_after(&headers).is_none_or(|wait| wait <= Duration::from_secs(86_400)));
            }
        }
    }
}
