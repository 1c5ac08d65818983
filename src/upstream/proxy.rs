//! `HTTPS_PROXY` and `NO_PROXY`, with the semantics of Docker's own programs (Go's `httpproxy`).

use std::net::IpAddr;

use url::Url;

use super::{Credentials, Error, address_policy::bare_host};
use crate::config::Cidr;

/// The proxy for `https` upstreams. `HTTP_PROXY` is not honoured.
#[derive(Clone, Default)]
pub struct Proxy {
    hop: Option<ProxyAddress>,
    exceptions: Vec<Exception>,
}

/// The address of the proxy.
#[derive(Clone)]
pub(super) struct ProxyAddress {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Proxy-Authorization`, if its URL has user information.
    pub(super) authorization: Option<String>,
}

#[derive(Clone)]
enum Exception {
    Everything,
    Cidr(Cidr),
    /// The name itself (unless it is written with a leading dot) and all names below it.
    Name {
        suffix: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxy {
    /// Reads the variables through `lookup`: upper case first, empty means unset.
    ///
    /// # Errors
    /// [`Error::Setting`] if `HTTPS_PROXY` is not an `http` URL.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let hop = get("HTTPS_PROXY").or_else(|| get("https_proxy"));
        let exceptions = get("NO_PROXY").or_else(|| get("no_proxy")).unwrap_or_default();
        Ok(Self {
            hop: hop.map(|text| ProxyAddress::parse(text.trim())).transpose()?,
            exceptions: exceptions.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// Returns the proxy to use for a host, if any. This machine itself is always reached directly.
    pub(super) fn hop_for(&self, host: &str, port: u16) -> Option<&ProxyAddress> {
        let host = bare_host(host).trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        let local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let excepted = || self.exceptions.iter().any(|exception| exception.covers(host, address, port));
        self.hop.as_ref().filter(|_| !local && !excepted())
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hop = self.hop.as_ref().map(|hop| format!("{}:{}", hop.host, hop.port));
        f.debug_struct("Proxy").field("hop", &hop).finish_non_exhaustive()
    }
}

impl ProxyAddress {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Setting("HTTPS_PROXY must be a URL like http://proxy.example:3128".into());
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).map_err(|_| wrong())?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or_else(wrong)?;
        Ok(Self {
            host: bare_host(host).to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
            authorization: Credentials::of_url(&url).map(|credentials| credentials.basic()),
        })
    }
}

impl Exception {
    fn parse(item: &str) -> Option<Self> {
        let item = item.trim().to_ascii_lowercase();
        if item.is_empty() || item == "*" {
            return (!item.is_empty()).then_some(Self::Everything);
        }
        if let Ok(network) = bare_host(&item).parse() {
            return Some(Self::Cidr(network));
        }
        let (name, port) = match item.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (item.as_str(), None),
        };
        let suffix = name.trim_start_matches('*').trim_start_matches('.');
        Some(Self::Name { itself: suffix == name, suffix: suffix.to_owned(), port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, at: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Cidr(network) => address.is_some_and(|address| network.contains(address)),
            Self::Name { suffix, itself, port } => {
                let fits = match host.strip_suffix(suffix.as_str()) {
                    Some("") => *itself,
                    Some(rest) => rest.ends_with('.'),
                    None => false,
                };
                fits && port.is_none_or(|port| port == at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, no: &str) -> Proxy {
        let pairs = [("https_proxy", url), ("NO_PROXY", no)];
        let lookup = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Proxy::from_lookup(lookup).unwrap()
    }

    #[test]
    fn exceptions_are_read_as_docker_reads_them() {
        let proxy = proxy(
            "proxy:3128",
            "example.com, .below.org, *.star.org, host:5000, 10.0.0.0/8, 192.168.1.1, ::1, ::ffff:172.16.0.0/108",
        );
        let direct = |host, port| proxy.hop_for(host, port).is_none();
        for (host, port) in [
            ("example.com", 443),
            ("a.example.com", 443),
            ("a.below.org", 443),
            ("a.star.org", 1),
            ("host", 5000),
            ("10.2.3.4", 443),
            ("192.168.1.1", 443),
            ("172.31.0.1", 443),
            ("localhost", 443),
            ("127.0.0.1", 443),
            ("[::1]", 443),
        ] {
            assert!(direct(host, port), "{host}:{port}");
        }
        for (host, port) in
            [("badexample.com", 443), ("below.org", 443), ("host", 443), ("11.0.0.1", 443), ("ghcr.io", 443)]
        {
            assert!(!direct(host, port), "{host}:{port}");
        }
    }

    #[test]
    fn a_star_excepts_everything_and_nothing_set_means_none() {
        assert!(proxy("http://proxy", "*").hop_for("ghcr.io", 443).is_none());
        assert!(proxy("", "").hop_for("ghcr.io", 443).is_none());
        assert!(Proxy::default().hop_for("ghcr.io", 443).is_none());
    }

    #[test]
    fn its_password_is_decoded_and_not_printed() {
        let proxy = proxy("http://user:p%40ss+1@proxy:8080", "");
        let hop = proxy.hop_for("ghcr.io", 443).unwrap();
        assert_eq!((hop.host.as_str(), hop.port), ("proxy", 8080));
        assert_eq!(hop.authorization.as_deref(), Some("Basic dXNlcjpwQHNzKzE="));
        assert!(!format!("{proxy:?}").contains("ss"));
    }

    #[test]
    fn only_an_http_proxy_is_known() {
        for bad in ["https://proxy", "socks5://proxy", "http://", "http://a b"] {
            let lookup = |name: &str| (name == "HTTPS_PROXY").then(|| bad.to_owned());
            assert!(matches!(Proxy::from_lookup(lookup), Err(Error::Setting(_))), "{bad}");
        }
    }
}
