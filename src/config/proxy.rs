//! The `proxy` section: the upstream, its credentials, the tag cache and pushes beside the mirror.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    Account, CredentialHelper, Error, Origin, Secret, Setting, UpstreamConfig, account,
    dump::Line,
    duration, key,
    node::Node,
    upstreams,
    urls::{host, plain_url},
    used_keys::{
        PROXY_ADOPT, PROXY_ENABLED, PROXY_EXEC_COMMAND, PROXY_EXEC_LIFETIME, PROXY_FRESHNESS, PROXY_FRESHNESSMAX,
        PROXY_HOSTED, PROXY_PASSWORD, PROXY_PASSWORDFILE, PROXY_PREFETCH, PROXY_PUSH, PROXY_REALM, PROXY_REDIRECTS,
        PROXY_REMOTEURL, PROXY_RESERVE, PROXY_TTL, PROXY_UNPROVEN, PROXY_USERNAME, PROXY_WARM, PROXY_WARMINTERVAL,
    },
    used_upstream_keys::PROXY_UPSTREAMS,
};
use crate::{
    lanes::Blocking,
    oci::{Domain, ImageName, NamePattern, RepositoryName},
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
    /// `proxy.exec`: the program that prints the account.
    pub exec: Option<CredentialHelper>,
    /// `proxy.upstreams`, with Docker Hub first unless it is turned off. See [`ProxyConfig::mirrored`].
    pub upstreams: Setting<Vec<UpstreamConfig>>,
    /// `proxy.freshness`: the time for which a tag is served without asking the upstream.
    pub freshness: Setting<Duration>,
    /// `proxy.freshnessmax`: the longest time for which a tag is served without asking as a pull limit is used up.
    pub freshnessmax: Setting<Duration>,
    /// `proxy.reserve`: the part of a pull limit, in per cent, that is left to what is not cached.
    pub reserve: Setting<u8>,
    /// `proxy.prefetch`: the first request for a layer begins to fetch the others of the image.
    pub prefetch: Setting<bool>,
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
        let passwordfile = Setting::read_optional(root, &PROXY_PASSWORDFILE, |text| Some(PathBuf::from(text)))?;
        let password = Setting::read_optional(root, &PROXY_PASSWORD, |text| Some(Secret::new(text)))?;
        let proxy = Self {
            enabled: Setting::read(root, &PROXY_ENABLED, key::flag)?,
            remoteurl: Setting::read(root, &PROXY_REMOTEURL, plain_url)?,
            username: Setting::read_optional(root, &PROXY_USERNAME, |text| Some(text.to_owned()))?,
            password: account::with_file(io, password, &passwordfile)?,
            realm: Setting::read_optional(root, &PROXY_REALM, plain_url)?,
            redirects: Setting::read_list(root, &PROXY_REDIRECTS, host)?,
            passwordfile,
            exec: upstreams::helper(root, &PROXY_EXEC_COMMAND, &PROXY_EXEC_LIFETIME)?,
            upstreams: Setting::new(&PROXY_UPSTREAMS, Vec::new(), "", Origin::Default),
            freshness: Setting::read(root, &PROXY_FRESHNESS, duration::parse)?,
            freshnessmax: Setting::read(root, &PROXY_FRESHNESSMAX, duration::parse)?,
            reserve: Setting::read(root, &PROXY_RESERVE, percent)?,
            prefetch: Setting::read(root, &PROXY_PREFETCH, key::flag)?,
            ttl: Setting::read(root, &PROXY_TTL, duration::parse)?,
            push: Setting::read_optional(root, &PROXY_PUSH, key::flag)?,
            hosted: Setting::read_list(root, &PROXY_HOSTED, str::parse)?,
            unproven: Setting::read(root, &PROXY_UNPROVEN, Unproven::parse)?,
            adopt: Setting::read(root, &PROXY_ADOPT, Adopt::parse)?,
            warm: Setting::read_list(root, &PROXY_WARM, image)?,
            warminterval: Setting::read(root, &PROXY_WARMINTERVAL, duration::parse)?,
        };
        let proxy = proxy.with_user_out_of_url()?.paired()?;
        Ok(Self { upstreams: upstreams::read(io, root, &proxy.docker_hub(), &proxy.remoteurl)?, ..proxy })
    }

    /// Docker Hub by the keys of `proxy` itself, most of which `registry:2` has, too.
    fn docker_hub(&self) -> UpstreamConfig {
        let file = self.passwordfile.value().clone();
        let account = self.username.value().clone().zip(self.password.value().clone());
        UpstreamConfig {
            domain: Domain::docker_hub(),
            url: self.remoteurl.value().clone(),
            mirrors: Vec::new(),
            accounts: account.map(|(username, password)| Account { username, password, file }).into_iter().collect(),
            exec: self.exec.clone(),
            ca: None,
            insecure: false,
            realm: self.realm.value().clone(),
            redirects: self.redirects.value().clone(),
            freshness: *self.freshness,
            freshnessmax: *self.freshnessmax,
            reserve: *self.reserve,
            ttl: *self.ttl,
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Returns the upstreams that are mirrored: Docker Hub first, unless it is turned off; none if the mirror is.
    #[must_use]
    pub fn mirrored(&self) -> &[UpstreamConfig] {
        if *self.enabled { &self.upstreams } else { &[] }
    }

    /// Takes the upstreams of another configuration, and keeps the rest.
    #[must_use]
    pub fn with_upstreams_of(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            enabled: self.enabled,
            push: self.push,
            hosted: self.hosted,
            unproven: self.unproven,
            adopt: self.adopt,
            prefetch: self.prefetch,
            warm: self.warm,
            warminterval: self.warminterval,
            ..other
        }
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

    fn with_user_out_of_url(mut self) -> Result<Self, Error> {
        let url = self.remoteurl.value();
        let (username, password) = (account::decoded(url.username()), url.password().map(account::decoded));
        if username.is_empty() && password.is_none() {
            return Ok(self);
        }
        if self.username.is_some() || self.password.is_some() {
            return Err(self.remoteurl.error("a URL without a user, since proxy.username names one"));
        }
        if self.exec.is_some() {
            return Err(self.remoteurl.error("a URL without a user, since proxy.exec.command prints an account"));
        }
        let origin = || self.remoteurl.origin().clone();
        self.username =
            Setting::new(&PROXY_USERNAME, Some(username.clone()).filter(|name| !name.is_empty()), &username, origin());
        self.password = Setting::new(&PROXY_PASSWORD, password.map(Secret::new), "", origin());
        self.remoteurl = self.remoteurl.map(account::without_user);
        Ok(self)
    }

    fn paired(self) -> Result<Self, Error> {
        match (self.username.value(), self.password.value()) {
            (Some(_), None) => Err(self.username.error("proxy.password beside it")),
            (None, Some(_)) => Err(self.password.error("proxy.username beside it")),
            _ if self.exec.is_some() && self.username.is_some() => {
                Err(self.username.error("no account beside proxy.exec.command, which prints one"))
            }
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
        if let Some(exec) = &self.exec {
            lines.push(Line::of(&PROXY_EXEC_COMMAND, exec.command.to_string_lossy()));
            lines.push(Line::of(&PROXY_EXEC_LIFETIME, duration::write(exec.lifetime)));
        }
        lines.extend(self.realm.as_ref().map(|realm| Line::new(&self.realm, realm.as_str())));
        lines.push(Line::list(&self.redirects, self.redirects.iter()));
        lines.extend([
            Line::new(&self.freshness, duration::write(*self.freshness)),
            Line::new(&self.freshnessmax, duration::write(*self.freshnessmax)),
            Line::new(&self.reserve, format!("{}%", *self.reserve)),
            Line::new(&self.prefetch, self.prefetch.to_string()),
            Line::new(&self.ttl, duration::write(*self.ttl)),
            Line::new(&self.push, self.push_allowed().to_string()),
            Line::list(&self.hosted, self.hosted.iter().map(NamePattern::as_str)),
            Line::new(&self.unproven, self.unproven.as_str()),
            Line::new(&self.adopt, self.adopt.as_str()),
            Line::list(&self.warm, self.warm.iter().map(ToString::to_string)),
            Line::new(&self.warminterval, duration::write(*self.warminterval)),
        ]);
        lines.push(
            Line::flow(&self.upstreams, upstreams::written(&self.upstreams, &self.docker_hub()))
                .remark_unless(self.upstreams.is_set()),
        );
        lines
    }
}

/// A part of a whole, 0 to 100 per cent.
fn percent(text: &str) -> Option<u8> {
    text.strip_suffix('%')?.trim().parse().ok().filter(|percent| *percent <= 100)
}

fn image(text: &str) -> Result<ImageName, String> {
    text.parse().map_err(|error| format!("an image such as nginx:1.27 or ghcr.io/org/app:2 ({error})"))
}
