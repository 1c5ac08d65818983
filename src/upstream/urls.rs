//! Helpers for the URLs of upstreams, of their realms and of their redirects.

use url::Url;

/// Returns whether the URL has a scheme that can be requested.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host().is_some()
}

/// Removes user information and fragment from a URL.
pub(super) fn strip(url: &mut Url) {
    // These fail only for URLs without a host.
    let _hostless = url.set_username("").and_then(|()| url.set_password(None));
    url.set_fragment(None);
}
