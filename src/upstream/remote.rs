//! An upstream registry: its address, the credentials for it, and the state learned from its responses.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use awc::http::header::HeaderMap;
use parking_lot::Mutex;
use url::{Host, Url};

use super::{
    Account, Credentials, Error, Trust,
    address_policy::{self, AddressPolicy},
    headers,
    permits::Permits,
};
use super::{
    token_cache::TokenCache,
    urls::{is_http, strip},
};
use crate::{
    metrics::{Metrics, PullRateLimit},
    oci::{Domain, RepositoryName},
};

/// The time for which the addresses of the upstream's own host are cached, for the check of redirects.
const ADDRESS_POLICY_TTL: Duration = Duration::from_secs(60);

/// The timeouts of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For DNS, TCP and TLS together, for each connection.
    pub connect: Duration,
    /// From the start to the response's head, including connecting, tokens and redirects.
    pub head: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), head: seconds(10), stall: seconds(30) }
    }
}

/// The options of an upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamOptions {
    /// The account there.
    pub account: Account,
    /// The accepted certificates; `None` for those of [`ConnectionSettings`](super::ConnectionSettings).
    pub trust: Option<Trust>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// A token service on another domain that is used all the same, and may receive the credentials.
    pub realm: Option<Url>,
    /// Hosts (`host` or `host:port`) that redirects may lead to, at any address.
    pub redirects: Vec<String>,
    /// The metrics that count its requests; not counted if `None`.
    pub metrics: Option<Arc<Metrics>>,
}

/// An upstream registry. Cheap to clone, and shared by all threads.
#[derive(Clone)]
pub struct Remote(Arc<RemoteInner>);

struct RemoteInner {
    domain: Domain,
    base: Url,
    options: UpstreamOptions,
    tokens: TokenCache,
    permits: Permits,
    /// Set after a Basic challenge: the credentials are sent at once from then on.
    basic: AtomicBool,
    /// Set after the warning that a realm did not get the credentials.
    warned: AtomicBool,
    pull_rate_limit: Mutex<Option<(PullRateLimit, Instant)>>,
    address_policy: Mutex<Option<(Instant, AddressPolicy)>>,
}

impl Remote {
    /// Creates the upstream of `domain`, at `base`. The user information in `base` serves as credentials if `options`
    /// has none.
    ///
    /// # Errors
    /// [`Error::Setting`] unless `base` is an `http` or `https` URL.
    pub fn new(domain: Domain, mut base: Url, mut options: UpstreamOptions) -> Result<Self, Error> {
        if !is_http(&base) {
            return Err(Error::Setting("an upstream is given as an http or https URL".into()));
        }
        let in_url = Credentials::of_url(&base);
        if let (Account::Anonymous, Some(in_url)) = (&options.account, in_url) {
            options.account = Account::Password(in_url);
        }
        strip(&mut base);
        base.set_query(None);
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Self(Arc::new(RemoteInner {
            domain,
            base,
            options,
            tokens: TokenCache::default(),
            permits: Permits::new(),
            basic: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            pull_rate_limit: Mutex::default(),
            address_policy: Mutex::default(),
        })))
    }

    /// Returns the domain that it serves.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// Returns its base URL.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.0.base
    }

    /// Reads the latest rate limit in its responses, with its age; `None` if there was none.
    pub fn pull_rate_limit<T>(&self, read: impl FnOnce(&PullRateLimit, Duration) -> T) -> Option<T> {
        self.0.pull_rate_limit.lock().as_ref().map(|(limit, heard)| read(limit, heard.elapsed()))
    }

    pub(super) fn note_pull_rate_limit(&self, headers: &HeaderMap) {
        if let Some(limit) = headers::pull_rate_limit(headers) {
            *self.0.pull_rate_limit.lock() = Some((limit, Instant::now()));
        }
    }

    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.0.options.metrics.as_deref()
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.0.options.timeouts
    }

    /// Returns the stall timeout of a document: no longer than that of a head, since its client gives up sooner than a
    /// blob's.
    pub(super) fn document_stall(&self) -> Duration {
        self.timeouts().stall.min(self.timeouts().head)
    }

    pub(super) fn trust(&self) -> Option<&Trust> {
        self.0.options.trust.as_ref()
    }

    /// Returns the user name of its account, for metrics and messages.
    #[must_use]
    pub fn username(&self) -> Option<String> {
        self.credentials().map(|credentials| credentials.username)
    }

    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.account().known()
    }

    pub(super) fn account(&self) -> &Account {
        &self.0.options.account
    }

    pub(super) fn tokens(&self) -> &TokenCache {
        &self.0.tokens
    }

    pub(super) fn permits(&self) -> &Permits {
        &self.0.permits
    }

    /// Returns `<base>/v2/<name>/<rest>`.
    pub(super) fn url(&self, name: &RepositoryName, rest: &str) -> Url {
        let mut url = self.0.base.clone();
        url.set_path(&format!("{}/v2/{name}/{rest}", self.0.base.path().trim_end_matches('/')));
        url
    }

    /// Returns whether `url` is at the upstream itself: its tokens and credentials are sent to no other place.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.0.base.origin()
    }

    /// Returns whether a token service may receive the credentials (law 9 of ARCHITECTURE.md).
    pub(super) fn entitles(&self, realm: &Url) -> bool {
        let base = &self.0.base;
        let downgraded = base.scheme() == "https" && realm.scheme() != "https";
        !downgraded && (realm.host() == base.host() || self.names(realm) || is_hub_pair(base, realm))
    }

    /// Returns whether a token service is used at all: one that may receive the credentials, or one on the upstream's
    /// domain. A challenge cannot lead to other hosts (law 10 of ARCHITECTURE.md).
    pub(super) fn asks(&self, realm: &Url) -> bool {
        self.entitles(realm) || is_of_one_domain(&self.0.base, realm)
    }

    fn names(&self, realm: &Url) -> bool {
        self.0.options.realm.as_ref().is_some_and(|named| named.origin() == realm.origin())
    }

    /// Warns once that a token service is not used, or used without the credentials.
    pub(super) fn warn_of(&self, realm: &Url) {
        let asked = self.asks(realm);
        if asked && self.account().is_anonymous() || self.0.warned.swap(true, Relaxed) {
            return;
        }
        let (domain, realm) = (self.domain(), realm.origin().ascii_serialization());
        if asked {
            tracing::warn!(%domain, %realm, "the token service is on another host: asking it without the credentials");
        } else {
            tracing::warn!(
                %domain, %realm,
                "the token service is on another domain and is not asked; only what is cached is served: if it is right, set \
                 proxy.realm to it"
            );
        }
    }

    pub(super) fn wants_basic(&self) -> bool {
        self.0.basic.load(Relaxed)
    }

    pub(super) fn remember_basic(&self) {
        self.0.basic.store(true, Relaxed);
    }

    /// Returns the address policy for `url`, which the upstream's response names. The upstream's own host is looked up
    /// for it only if it is reached directly: behind a proxy the lookup may hang.
    pub(super) async fn address_policy(&self, url: &Url, direct: bool) -> AddressPolicy {
        if url.host() == self.0.base.host() || self.lists(url) || self.names(url) {
            return AddressPolicy::ANYWHERE;
        }
        let known = self.0.address_policy.lock().filter(|(since, _)| since.elapsed() < ADDRESS_POLICY_TTL);
        if let Some((_, address_policy)) = known {
            return address_policy;
        }
        let address_policy = address_policy::of_host(&self.0.base, direct).await;
        *self.0.address_policy.lock() = Some((Instant::now(), address_policy));
        address_policy
    }

    fn lists(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let with_port = format!("{host}:{port}");
        self.0.options.redirects.iter().any(|listed| listed.eq_ignore_ascii_case(host) || *listed == with_port)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("domain", &self.0.domain).finish_non_exhaustive()
    }
}

/// Returns whether both hosts are the same, or within one registrable domain, as `auth.r.example` and
/// `registry.r.example`. The public suffix list is not known here: below a short second level of a country (`co.uk`) a
/// domain needs a third part. That suffices, since it permits no more than a redirect may do.
fn is_of_one_domain(base: &Url, realm: &Url) -> bool {
    if base.host() == realm.host() {
        return true;
    }
    let (Some(Host::Domain(base)), Some(Host::Domain(realm))) = (base.host(), realm.host()) else { return false };
    let shared: Vec<_> = base.rsplit('.').zip(realm.rsplit('.')).map_while(|(a, b)| (a == b).then_some(a)).collect();
    match shared.as_slice() {
        [country, short, more @ ..] if country.len() == 2 && short.len() <= 3 => !more.is_empty(),
        shared => shared.len() >= 2,
    }
}

/// Returns whether these are the Hub, by any of its names, and its token service.
fn is_hub_pair(base: &Url, realm: &Url) -> bool {
    matches!(base.host_str(), Some("registry-1.docker.io" | "index.docker.io" | "registry.hub.docker.com"))
        && realm.host_str() == Some("auth.docker.io")
        && realm.port_or_known_default() == Some(443)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(base: &str, realm: Option<&str>) -> Remote {
        let options =
            UpstreamOptions { realm: realm.map(|realm| realm.parse().unwrap()), ..UpstreamOptions::default() };
        Remote::new(Domain::docker_hub(), base.parse().unwrap(), options).unwrap()
    }

    fn entitles(base: &str, realm: &str) -> bool {
        remote(base, None).entitles(&realm.parse().unwrap())
    }

    #[test]
    fn credentials_go_to_the_own_host_and_the_hubs_pair() {
        assert!(entitles("https://r.example", "https://r.example/token"));
        assert!(entitles("http://r.example:5000", "http://r.example:5001/token"));
        assert!(entitles("https://registry-1.docker.io", "https://auth.docker.io/token"));
        for (base, realm) in [
            ("https://r.example", "http://r.example/token"),
            ("https://r.example", "https://auth.r.example/token"),
            ("https://r.example", "https://auth.docker.io/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://registry-1.docker.io", "https://auth.docker.io:444/token"),
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
        ] {
            assert!(!entitles(base, realm), "{base} {realm}");
        }
    }

    #[test]
    fn only_the_upstreams_own_domain_is_asked_for_tokens() {
        let asks = |base: &str, realm: &str| remote(base, None).asks(&realm.parse().unwrap());
        for (base, realm) in [
            ("https://r.example", "https://auth.r.example/token"),
            ("https://registry.r.example", "https://r.example/jwt/auth"),
            ("https://registry.r.example", "https://gitlab.r.example/jwt/auth"),
            ("https://registry.a.co.uk", "https://tokens.a.co.uk/token"),
            ("https://r.example", "http://r.example/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("https://index.docker.io", "https://auth.docker.io/token"),
        ] {
            assert!(asks(base, realm), "{base} {realm}");
        }
        for (base, realm) in [
            ("https://r.example", "https://tokens.example/token"),
            ("https://r.example", "https://notr.example/token"),
            ("https://r.example", "https://r.example.evil.example/token"),
            ("https://r.example", "https://example/token"),
            ("https://a.co.uk", "https://b.co.uk/token"),
            ("https://r", "https://auth/token"),
            ("https://r.example", "https://auth.docker.io/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.2:5000/token"),
            ("http://127.0.0.1:5000", "http://localhost:5000/token"),
        ] {
            assert!(!asks(base, realm), "{base} {realm}");
        }
        let named = remote("https://r.example", Some("https://tokens.example/x"));
        assert!(named.asks(&"https://tokens.example/token".parse().unwrap()));
    }

    #[test]
    fn a_named_realm_is_one_origin() {
        let remote = remote("https://r.example", Some("https://a.example/x"));
        assert!(remote.entitles(&"https://a.example/token".parse().unwrap()));
        assert!(!remote.entitles(&"https://a.example:8443/token".parse().unwrap()));
    }

    #[test]
    fn nothing_prints_the_password() {
        let base = "https://me:hunter2@r.example/prefix/".parse().unwrap();
        let remote = Remote::new(Domain::docker_hub(), base, UpstreamOptions::default()).unwrap();
        assert_eq!(remote.credentials().unwrap().password, "hunter2");
        assert_eq!(remote.base().as_str(), "https://r.example/prefix");
        let name = "a/b".parse().unwrap();
        assert_eq!(remote.url(&name, "tags/list").as_str(), "https://r.example/prefix/v2/a/b/tags/list");
        assert!(!format!("{remote:?} {:?}", remote.credentials()).contains("hunter2"));
    }

    #[test]
    fn only_http_is_an_upstream() {
        for bad in ["ftp://r.example", "mailto:a@b", "file:///x"] {
            let made = Remote::new(Domain::docker_hub(), bad.parse().unwrap(), UpstreamOptions::default());
            assert!(matches!(made, Err(Error::Setting(_))), "{bad}");
        }
    }
}
