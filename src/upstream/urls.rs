//! URLs of upstreams, of their realms and of their redirects.

use url::Url;

/// Whether it is a URL that can be asked at all.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host().is_some()
}

/// Takes user information and fragment off a URL.
pub(super) fn strip(url: &mut Url) {
    // These fail for URLs without a host only.
    let _hostless = url.set_username("").and_then(|()| url.set_password(None));
    url.set_fragment(None);
}
