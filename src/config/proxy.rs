//! The `proxy` section: the upstream, its credentials, the tag cache and pushes beside the mirror.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    Error, Secret, Setting,
    dump::Line,
    duration, key,
    node::Node,
    used_keys::{
        PROXY_ADOPT, PROXY_ENABLED, PROXY_FRESHNESS, PROXY_HOSTED, PROXY_PASSWORD, PROXY_PASSWORDFILE, PROXY_PUSH,
        PROXY_REALM, PROXY_REDIRECTS, PROXY_REMOTEURL, PROXY_TTL, PROXY_UNPROVEN, PROXY_USERNAME, PROXY_WARM,
        PROXY_WARMINTERVAL,
    },
};
use crate::{
    lanes::Blocking,
    oci::{ImageName, NamePattern, RepositoryName},
};

/// The settings of the mirror, and of pushes beside it.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// `proxy.enabled`: true if anything is mirrored.
    pub enabled: Setting<bool>,
    /// `proxy.remoteurl`: the registry that stands for `docker.io`. User and password are removed from it and stored in
    /// the next two fields, so that the URL can be logged and passed on as it is.
    pub remoteurl: Setting<Url>,
    /// `proxy.username`: set if and only if the password is.
    pub username: Setting<Option<String>>,
    /// `proxy.password`, or the content of `proxy.passwordfile`.
    pub password: Setting<Option<Secret>>,
    /// `proxy.realm`: a token service on another domain that may receive the password.
    pub realm: Setting<Option<Url>>,
    /// `proxy.redirects`: hosts, with an optional port, that redirects may lead to at any address.
    pub redirects: Setting<Vec<String>>,
    /// `proxy.passwordfile`: the file the password was read from.
    pub passwordfile: Setting<Option<PathBuf>>,
    /// `proxy.freshness`: the time for which a tag is served without asking the upstream.
    pub freshness: Setting<Duration>,
    /// `proxy.ttl`: the time after which unused content is removed; zero: never.
    pub ttl: Setting<Duration>,
    /// `proxy.push`, if it is set. See [`ProxyConfig::push_allowed`].
    pub push: Setting<Option<bool>>,
    /// `proxy.hosted`: repositories that belong to this registry, pushed or not. See [`ProxyConfig::is_hosted`].
    pub hosted: Setting<Vec<NamePattern>>,
    /// `proxy.unproven`: the response to a first push while the upstream cannot be asked about the name.
    pub unproven: Setting<Unproven>,
    /// `proxy.adopt`: the class of repositories on a volume of registry:2 that may have been a cache.
    pub adopt: Setting<Adopt>,
    /// `proxy.warm`: images that are fetched ahead of their pulls.
    pub warm: Setting<Vec<ImageName>>,
    /// `proxy.warminterval`: the interval of that; zero: never.
    pub warminterval: Setting<Duration>,
}

/// The response to a first push while the upstream cannot be asked whether it has such a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The push is accepted, and the upstream is asked later.
    Accept,
    /// The push is refused until the upstream can be asked.
    Refuse,
}

/// The class of the repositories that a volume of `registry:2` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Not set.
    Ask,
    /// Cached: they become mirrored.
    Cached,
    /// Pushed: they stay hosted.
    Pushed,
}

impl Adopt {
    fn parse(text: &str) -> Option<Self> {
        [Self::Ask, Self::Cached, Self::Pushed].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Cached => "cached",
            Self::Pushed => "pushed",
        }
    }
}

impl Unproven {
    fn parse(text: &str) -> Option<Self> {
        [Self::Accept, Self::Refuse].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse => "refuse",
        }
    }
}

impl ProxyConfig {
    pub(super) fn read(io: &Blocking, root: &Node) -> Result<Self, Error> {
        let proxy = Self {
            enabled: Setting::read(root, &PROXY_ENABLED, key::flag)?,
            remoteurl: Setting::read(root, &PROXY_REMOTEURL, plain_url)?,
            username: Setting::read_optional(root, &PROXY_USERNAME, |text| Some(text.to_owned()))?,
            password: Setting::read_optional(root, &PROXY_PASSWORD, |text| Some(Secret::new(text)))?,
            realm: Setting::read_optional(root, &PROXY_REALM, plain_url)?,
            redirects: Setting::read_list(root, &PROXY_REDIRECTS, host)?,
            passwordfile: Setting::read_optional(root, &PROXY_PASSWORDFILE, |text| Some(PathBuf::from(text)))?,
            freshness: Setting::read(root, &PROXY_FRESHNESS, duration::parse)?,
            ttl: Setting::read(root, &PROXY_TTL, duration::parse)?,
            push: Setting::read_optional(root, &PROXY_PUSH, key::flag)?,
            hosted: Setting::read_list(root, &PROXY_HOSTED, str::parse)?,
            unproven: Setting::read(root, &PROXY_UNPROVEN, Unproven::parse)?,
            adopt: Setting::read(root, &PROXY_ADOPT, Adopt::parse)?,
            warm: Setting::read_list(root, &PROXY_WARM, image)?,
            warminterval: Setting::read(root, &PROXY_WARMINTERVAL, duration::parse)?,
        };
        proxy.with_password_out_of_file(io)?.with_user_out_of_url()?.paired()
    }

    /// Returns whether pushes are accepted. A file with `proxy.remoteurl` was written for a `registry:2` that refuses
    /// pushes and may therefore have no authentication: only `proxy.push: true` or `proxy.enabled: false` enables
    /// pushes then.
    #[must_use]
    pub fn push_allowed(&self) -> bool {
        self.push.unwrap_or(!*self.enabled || !self.remoteurl.is_set())
    }

    /// Returns whether `proxy.hosted` assigns the repository to this registry.
    #[must_use]
    pub fn is_hosted(&self, name: &RepositoryName) -> bool {
        self.hosted.iter().any(|pattern| pattern.matches(name))
    }

    fn with_password_out_of_file(mut self, io: &Blocking) -> Result<Self, Error> {
        let Some(path) = self.passwordfile.value() else { return Ok(self) };
        if self.password.is_some() {
            return Err(self.passwordfile.error("no proxy.password beside it"));
        }
        let secret = Secret::from_file(io, path).map_err(|error| self.passwordfile.error(error))?;
        self.password = Setting::new(&PROXY_PASSWORD, Some(secret), "", self.passwordfile.origin().clone());
        Ok(self)
    }

    fn with_user_out_of_url(mut self) -> Result<Self, Error> {
        let url = self.remoteurl.value();
        let (username, password) = (decoded(url.username()), url.password().map(decoded));
        if username.is_empty() && password.is_none() {
            return Ok(self);
        }
        if self.username.is_some() || self.password.is_some() {
            return Err(self.remoteurl.error("a URL without a user, since proxy.username names one"));
        }
        let origin = || self.remoteurl.origin().clone();
        self.username =
            Setting::new(&PROXY_USERNAME, Some(username.clone()).filter(|name| !name.is_empty()), &username, origin());
        self.password = Setting::new(&PROXY_PASSWORD, password.map(Secret::new), "", origin());
        self.remoteurl = self.remoteurl.map(without_user);
        Ok(self)
    }

    fn paired(self) -> Result<Self, Error> {
        match (self.username.value(), self.password.value()) {
            (Some(_), None) => Err(self.username.error("proxy.password beside it")),
            (None, Some(_)) => Err(self.password.error("proxy.username beside it")),
            _ => Ok(self),
        }
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::new(&self.enabled, self.enabled.to_string())];
        // An explicit `proxy.remoteurl` has effects of its own, here and in `registry:2`; the default must not look
        // like one.
        lines.push(Line::new(&self.remoteurl, self.remoteurl.as_str()).remark_unless(self.remoteurl.is_set()));
        lines.extend(self.username.as_deref().map(|name| Line::new(&self.username, name)));
        // A password from a file would be given twice when the output is loaded again.
        let password = self.password.as_ref().filter(|_| self.passwordfile.is_none());
        lines.extend(password.map(|_| Line::new(&self.password, "***")));
        lines.extend(self.passwordfile.as_deref().map(|path| Line::new(&self.passwordfile, path.to_string_lossy())));
        lines.extend(self.realm.as_ref().map(|realm| Line::new(&self.realm, realm.as_str())));
        lines.push(Line::list(&self.redirects, self.redirects.iter()));
        lines.extend([
            Line::new(&self.freshness, duration::write(*self.freshness)),
            Line::new(&self.ttl, duration::write(*self.ttl)),
            Line::new(&self.push, self.push_allowed().to_string()),
            Line::list(&self.hosted, self.hosted.iter().map(NamePattern::as_str)),
            Line::new(&self.unproven, self.unproven.as_str()),
            Line::new(&self.adopt, self.adopt.as_str()),
            Line::list(&self.warm, self.warm.iter().map(ToString::to_string)),
            Line::new(&self.warminterval, duration::write(*self.warminterval)),
        ]);
        lines
    }
}

/// A URL of scheme, host and path only, with an optional user.
pub(super) fn plain_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    (plain && url.has_host()).then_some(url)
}

/// A host as in a URL, with an optional port.
fn host(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(&format!("http://{text}/")).ok();
    let alone = url.filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
    alone.map(|_| text.to_ascii_lowercase()).ok_or("a host such as cdn.example or cdn.example:8443")
}

fn image(text: &str) -> Result<ImageName, String> {
    text.parse().map_err(|error| format!("an image such as nginx:1.27 or ghcr.io/org/app:2 ({error})"))
}

fn without_user(mut url: Url) -> Url {
    // The setters fail only for a URL without a host, which `plain_url` refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Decodes percent-escapes; invalid ones stay as they are.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = escape(rest).unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, rest @ ..] => Some((digit(high)? << 4 | digit(low)?, rest)),
        _ => None,
    }
}
