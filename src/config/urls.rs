//! URLs and hosts of other servers, as they are written in the configuration.

use url::Url;

/// A URL of scheme, host and path only, with an optional user.
pub(super) fn plain_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    (plain && url.has_host()).then_some(url)
}

/// A host as in a URL, with an optional port.
pub(super) fn host(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(&format!("http://{text}/")).ok();
    let alone = url.filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
    alone.map(|_| text.to_ascii_lowercase()).ok_or("a host such as cdn.example or cdn.example:8443")
}
