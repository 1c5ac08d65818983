//! The `http` section: listeners, URLs and response headers.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    Cidr, Debug, Error, Header, LimitsConfig, ListenAddress, Setting, TlsConfig,
    dump::{Line, quoted},
    duration, headers, key,
    node::{Node, Value},
    used_http_keys::{
        HTTP_ADDR, HTTP_DRAINTIMEOUT, HTTP_HEADERS, HTTP_HOST, HTTP_HOSTS, HTTP_NAMES, HTTP_NET, HTTP_PREFIX,
        HTTP_RELATIVEURLS, HTTP2_DISABLED, MIRROR_ADDR, TRUSTED_PROXIES,
    },
};
use crate::oci::Domain;

/// The settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct Http {
    /// `http.addr`, read as `http.net` says.
    pub addr: Setting<Listen>,
    /// `http.net`: the kind of address that `http.addr` is.
    pub net: Setting<Net>,
    /// `http.host`: this registry's external URL, which absolute `Location` headers begin with. Without query,
    /// fragment, user or password.
    pub host: Setting<Option<Url>>,
    /// `http.names`: more names of this registry, for the `ns` parameter. See [`Http::is_named`].
    pub names: Setting<Vec<Domain>>,
    /// `http.hosts`: names of this server, each with the registry that requests to it mean.
    pub hosts: Setting<Vec<(Domain, Domain)>>,
    /// `http.prefix`: the part of a URL's path before `v2/`. Begins and ends with `/`; just `/` for none.
    pub prefix: Setting<String>,
    /// `http.relativeurls`: `Location` headers without scheme and host.
    pub relativeurls: Setting<bool>,
    /// `http.draintimeout`: the time that open requests have to finish at shutdown; zero: none.
    pub draintimeout: Setting<Duration>,
    /// `http.headers`: additional headers of every response.
    pub headers: Setting<Vec<Header>>,
    /// `http.tls`, where a certificate is set.
    pub tls: Option<TlsConfig>,
    /// `http.http2.disabled`: HTTP/2 is offered only if this is explicitly `false`.
    pub http2_disabled: Setting<bool>,
    /// `http.mirror.addr`: the mirror listener, which serves mirrored content only.
    pub mirror: Setting<Option<ListenAddress>>,
    /// `http.trustedproxies`: the proxies whose `Forwarded` and `X-Forwarded-*` headers are trusted.
    pub trusted_proxies: Setting<Vec<Cidr>>,
    /// `http.limits`.
    pub limits: LimitsConfig,
    /// `http.debug` and `http.metrics`: monitoring.
    pub debug: Debug,
}

/// The kind of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// TCP.
    Tcp,
    /// A Unix domain socket.
    Unix,
}

/// The address of the main listener. Displayed as it may be written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// With `http.net: tcp`.
    Tcp(ListenAddress),
    /// With `http.net: unix`: the socket's path.
    Unix(PathBuf),
}

impl Http {
    pub(super) fn read(root: &Node) -> Result<Self, Error> {
        // `net` comes first: it decides how the address is read, and its own error is the clearer one.
        let net = Setting::read(root, &HTTP_NET, Net::parse)?;
        Ok(Self {
            addr: listen(root, *net)?,
            net,
            host: Setting::read_optional(root, &HTTP_HOST, own_url)?,
            names: Setting::read_list(root, &HTTP_NAMES, |text| {
                text.parse().map_err(|_| "a host, with :port where it needs one")
            })?,
            hosts: hosts(root)?,
            prefix: Setting::read(root, &HTTP_PREFIX, prefix)?,
            relativeurls: Setting::read(root, &HTTP_RELATIVEURLS, key::flag)?,
            draintimeout: Setting::read(root, &HTTP_DRAINTIMEOUT, duration::parse)?,
            headers: headers::read(root, &HTTP_HEADERS)?,
            tls: TlsConfig::read(root)?,
            http2_disabled: Setting::read(root, &HTTP2_DISABLED, key::flag)?,
            mirror: Setting::read_optional(root, &MIRROR_ADDR, ListenAddress::parse)?,
            trusted_proxies: Setting::read_list(root, &TRUSTED_PROXIES, str::parse)?,
            limits: LimitsConfig::read(root)?,
            debug: Debug::read(root)?,
        })
    }

    /// Returns whether this is a name of this registry: the host of `http.host`, or one of `http.names`.
    #[must_use]
    pub fn is_named(&self, domain: &Domain) -> bool {
        self.names.contains(domain) || self.host.as_ref().and_then(domain_of).is_some_and(|own| own == *domain)
    }

    /// Returns every name of this registry.
    #[must_use]
    pub fn own_names(&self) -> Vec<Domain> {
        let host = self.host.as_ref().and_then(domain_of);
        self.names.iter().cloned().chain(host).collect()
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::new(&self.addr, self.addr.to_string()), Line::new(&self.net, self.net.as_str())];
        lines.extend(self.host.as_ref().map(|host| Line::new(&self.host, host.as_str())));
        lines.extend([
            Line::list(&self.names, self.names.iter().map(Domain::as_str)),
            Line::map(&self.hosts, self.hosts.iter().map(|(host, domain)| (host.as_str(), quoted(domain.as_str())))),
            Line::new(&self.prefix, self.prefix.as_str()),
            Line::new(&self.relativeurls, self.relativeurls.to_string()),
            Line::new(&self.draintimeout, duration::write(*self.draintimeout)),
            headers::line(&self.headers),
        ]);
        lines.extend(self.tls.iter().flat_map(TlsConfig::lines));
        lines.push(Line::new(&self.http2_disabled, self.http2_disabled.to_string()));
        lines.extend(self.mirror.as_ref().map(|address| Line::new(&self.mirror, address.to_string())));
        lines.push(Line::list(&self.trusted_proxies, self.trusted_proxies.iter().map(Cidr::to_string)));
        lines.extend(self.limits.lines());
        lines.extend(self.debug.lines());
        lines
    }
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Unix].into_iter().find(|net| net.as_str() == text)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Reads `http.hosts`. Hosts are spelt as registries are: a name with an optional port.
fn hosts(root: &Node) -> Result<Setting<Vec<(Domain, Domain)>>, Error> {
    let Some(node) = root.get(HTTP_HOSTS.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(&HTTP_HOSTS, Vec::new()));
    };
    let Value::Map(entries) = &node.value else { return Err(Error::shape(&HTTP_HOSTS, node)) };
    let domain = |text: &str, node: &Node| {
        text.parse::<Domain>().map_err(|error| Error::value(&HTTP_HOSTS, &node.origin, text, error))
    };
    let pair = |(host, node): &(String, Node)| match &node.value {
        Value::Text(text) => Ok((domain(host, node)?, domain(text, node)?)),
        _ => Err(Error::shape(&HTTP_HOSTS, node)),
    };
    let hosts = entries.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(Setting::new(&HTTP_HOSTS, hosts, "", node.origin.clone()))
}

fn listen(root: &Node, net: Net) -> Result<Setting<Listen>, Error> {
    match net {
        Net::Tcp => Setting::read(root, &HTTP_ADDR, |text| ListenAddress::parse(text).map(Listen::Tcp)),
        Net::Unix => {
            let addr = Setting::read(root, &HTTP_ADDR, |text| Some(Listen::Unix(text.into())))?;
            // An address without a slash is a TCP address; the default is one too.
            if addr.to_string().contains('/') { Ok(addr) } else { Err(addr.error("a path such as /run/registry.sock")) }
        }
    }
}

fn own_url(text: &str) -> Option<Url> {
    let has_no_credentials = |url: &Url| url.username().is_empty() && url.password().is_none();
    super::urls::plain_url(text).filter(has_no_credentials)
}

/// The host of a URL in the form of `ns`: with the port, unless it is the scheme's default.
fn domain_of(url: &Url) -> Option<Domain> {
    let host = url.host_str()?;
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")).parse().ok()
}

/// Adds a slash at either end if it is missing.
fn prefix(text: &str) -> Option<String> {
    let inner = text.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    if inner.is_empty() { Some("/".to_owned()) } else { inner.split('/').all(part).then(|| format!("/{inner}/")) }
}
