//! `proxy.upstreams`: the registries that are mirrored, each under its host, and Docker Hub beside them.
//!
//! The section is a list of hosts, or a map from a host to its settings. A variable may name the hosts with commas
//! between them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    Account, Error, Origin, Secret, Setting, account,
    dump::{self, quoted},
    duration, key,
    node::{Node, Value},
    urls::{host, plain_url},
    used_upstream_keys::{
        PROXY_UPSTREAMS, UPSTREAM_ACCOUNTS, UPSTREAM_ALLOW, UPSTREAM_CA, UPSTREAM_DENY, UPSTREAM_ENABLED,
        UPSTREAM_EXEC_COMMAND, UPSTREAM_EXEC_LIFETIME, UPSTREAM_FRESHNESS, UPSTREAM_INSECURE, UPSTREAM_MIRRORS,
        UPSTREAM_PASSWORD, UPSTREAM_PASSWORDFILE, UPSTREAM_REALM, UPSTREAM_REDIRECTS, UPSTREAM_TTL, UPSTREAM_URL,
        UPSTREAM_USERNAME,
    },
};
use crate::{
    lanes::Blocking,
    oci::{Domain, NamePattern},
};

/// A registry that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its name in image references.
    pub domain: Domain,
    /// Its URL, without a user.
    pub url: Url,
    /// Further URLs that serve the same content, in the order in which they are tried when one fails; each with its own
    /// user, if it has one.
    pub mirrors: Vec<Url>,
    /// The accounts there; anonymous if there are none.
    pub accounts: Vec<Account>,
    /// The program that prints the account, in place of `accounts`.
    pub exec: Option<CredentialHelper>,
    /// PEM: authorities that are trusted besides the machine's own.
    pub ca: Option<PathBuf>,
    /// Accepts every certificate.
    pub insecure: bool,
    /// A token service on another domain that may receive the password.
    pub realm: Option<Url>,
    /// Hosts, with an optional port, that redirects may lead to at any address.
    pub redirects: Vec<String>,
    /// The time for which a tag is served without asking.
    pub freshness: Duration,
    /// The longest time for which a tag is served without asking as the pull limit is used up.
    pub freshnessmax: Duration,
    /// The part of the pull limit, in per cent, that is left to what is not cached.
    pub reserve: u8,
    /// The time after which unused content is removed; zero: never.
    pub ttl: Duration,
    /// The repositories that are mirrored; all if empty.
    pub allow: Vec<NamePattern>,
    /// The repositories that are not mirrored.
    pub deny: Vec<NamePattern>,
}

/// A docker credential helper: it is called with the argument `get`, reads the registry's URL on stdin, and prints JSON
/// with `Username` and `Secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHelper {
    /// The program, with a path or in the search path.
    pub command: PathBuf,
    /// The time for which its output is used; zero: until the upstream refuses it.
    pub lifetime: Duration,
}

impl UpstreamConfig {
    /// Returns the files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let passwords = self.accounts.iter().filter_map(|account| account.file.as_deref());
        self.ca.as_deref().into_iter().chain(passwords)
    }

    /// A registry with the times of Docker Hub, and nothing else of it.
    fn new(domain: Domain, url: Url, hub: &Self) -> Self {
        Self {
            domain,
            url,
            mirrors: Vec::new(),
            accounts: Vec::new(),
            exec: None,
            ca: None,
            insecure: false,
            realm: None,
            redirects: Vec::new(),
            freshness: hub.freshness,
            freshnessmax: hub.freshnessmax,
            reserve: hub.reserve,
            ttl: hub.ttl,
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Applies the section of one registry. Returns `None` if it turns the registry off.
    fn with(mut self, io: &Blocking, node: &Node) -> Result<Option<Self>, Error> {
        // The keys' paths have a `*` in place of the registry's name.
        let root = &under_wildcard(node);
        if !*Setting::read(root, &UPSTREAM_ENABLED, key::flag)? {
            return Ok(None);
        }
        let url = Setting::read_optional(root, &UPSTREAM_URL, plain_url)?;
        let username = Setting::read_optional(root, &UPSTREAM_USERNAME, |text| Some(text.to_owned()))?;
        let password = Setting::read_optional(root, &UPSTREAM_PASSWORD, |text| Some(Secret::new(text)))?;
        let file = Setting::read_optional(root, &UPSTREAM_PASSWORDFILE, |text| Some(PathBuf::from(text)))?;
        let mut accounts: Vec<_> = account::single(io, &username, password, &file)?.into_iter().collect();
        accounts.extend(account::list(io, root, &UPSTREAM_ACCOUNTS)?);
        if let Some(given) = url.value() {
            let in_url = account::of_url(given);
            if in_url.is_some() && !accounts.is_empty() {
                return Err(url.error("a URL without a user, since another key names one"));
            }
            accounts.extend(in_url);
            self.url = account::without_user(given.clone());
        }
        if !accounts.is_empty() {
            self.accounts = accounts;
        }
        self.exec = helper(root, &UPSTREAM_EXEC_COMMAND, &UPSTREAM_EXEC_LIFETIME)?.or(self.exec);
        self.check_exec(root, &username, &url)?;
        self.set_connection(root)?;
        self.set_rules(root)?;
        Ok(Some(self))
    }

    /// Checks that no account stands beside a credential helper. The error names the key that the account is from.
    fn check_exec(
        &self,
        root: &Node,
        username: &Setting<Option<String>>,
        url: &Setting<Option<Url>>,
    ) -> Result<(), Error> {
        const EXPECTED: &str = "no account beside exec.command, which prints one";
        let (true, Some(first)) = (self.exec.is_some(), self.accounts.first()) else { return Ok(()) };
        if username.is_some() {
            return Err(username.error(EXPECTED));
        }
        if let Some(node) = root.get(UPSTREAM_ACCOUNTS.path).filter(|node| !node.is_empty()) {
            return Err(Error::value(&UPSTREAM_ACCOUNTS, &node.origin, &first.username, EXPECTED));
        }
        if url.as_ref().and_then(account::of_url).is_some() {
            return Err(url.error(EXPECTED));
        }
        let command = Setting::read_optional(root, &UPSTREAM_EXEC_COMMAND, |text| Some(PathBuf::from(text)))?;
        Err(command.error("no command beside proxy.username, which is an account"))
    }

    fn set_connection(&mut self, root: &Node) -> Result<(), Error> {
        self.mirrors = Setting::read_list(root, &UPSTREAM_MIRRORS, |text| {
            plain_url(text).ok_or("an http or https URL such as https://mirror.example")
        })?
        .into_value();
        self.ca = Setting::read_optional(root, &UPSTREAM_CA, |text| Some(PathBuf::from(text)))?.into_value();
        let insecure = Setting::read(root, &UPSTREAM_INSECURE, key::flag)?;
        if *insecure && self.ca.is_some() {
            return Err(insecure.error("false beside ca, which would not be looked at"));
        }
        self.insecure = *insecure;
        self.realm = Setting::read_optional(root, &UPSTREAM_REALM, plain_url)?.into_value().or(self.realm.take());
        self.redirects.extend(Setting::read_list(root, &UPSTREAM_REDIRECTS, host)?.into_value());
        Ok(())
    }

    fn set_rules(&mut self, root: &Node) -> Result<(), Error> {
        let duration = |key| Setting::read_optional(root, key, duration::parse).map(Setting::into_value);
        self.freshness = duration(&UPSTREAM_FRESHNESS)?.unwrap_or(self.freshness);
        self.ttl = duration(&UPSTREAM_TTL)?.unwrap_or(self.ttl);
        self.allow = Setting::read_list(root, &UPSTREAM_ALLOW, str::parse)?.into_value();
        self.deny = Setting::read_list(root, &UPSTREAM_DENY, str::parse)?.into_value();
        Ok(())
    }

    /// The section as YAML, with `***` for secrets. `remoteurl` is written elsewhere already.
    fn written(&self, remoteurl: &Url) -> String {
        let texts = |items: &[String]| dump::list(items);
        let urls = |urls: &[Url]| dump::list(urls.iter().map(|url| account::without_user(url.clone()).to_string()));
        let patterns = |patterns: &[NamePattern]| dump::list(patterns.iter().map(NamePattern::as_str));
        let url = (self.url != *remoteurl).then(|| ("url", quoted(self.url.as_str())));
        let mut entries: Vec<_> = url.into_iter().collect();
        entries.extend((!self.mirrors.is_empty()).then(|| ("mirrors", urls(&self.mirrors))));
        entries.extend((!self.accounts.is_empty()).then(|| ("accounts", account::written(&self.accounts))));
        entries.extend(self.exec.as_ref().map(|exec| ("exec", exec.written())));
        entries.extend(self.ca.as_ref().map(|ca| ("ca", quoted(&ca.to_string_lossy()))));
        entries.extend(self.insecure.then(|| ("insecure", "true".to_owned())));
        entries.extend(self.realm.as_ref().map(|realm| ("realm", quoted(realm.as_str()))));
        entries.extend((!self.redirects.is_empty()).then(|| ("redirects", texts(&self.redirects))));
        entries.push(("freshness", quoted(&duration::write(self.freshness))));
        entries.push(("ttl", quoted(&duration::write(self.ttl))));
        entries.extend((!self.allow.is_empty()).then(|| ("allow", patterns(&self.allow))));
        entries.extend((!self.deny.is_empty()).then(|| ("deny", patterns(&self.deny))));
        dump::map(entries)
    }
}

impl CredentialHelper {
    fn written(&self) -> String {
        let lifetime = quoted(&duration::write(self.lifetime));
        dump::map([("command", quoted(&self.command.to_string_lossy())), ("lifetime", lifetime)])
    }
}

/// Reads a credential helper.
pub(super) fn helper(
    root: &Node,
    command: &'static key::Key,
    lifetime: &'static key::Key,
) -> Result<Option<CredentialHelper>, Error> {
    let command = Setting::read_optional(root, command, |text| Some(PathBuf::from(text)))?.into_value();
    let lifetime = *Setting::read(root, lifetime, duration::parse)?;
    Ok(command.map(|command| CredentialHelper { command, lifetime }))
}

/// Reads all upstreams: Docker Hub first, then the section's in its order. `hub` is Docker Hub by other keys,
/// `remoteurl` the one for its URL.
pub(super) fn read(
    io: &Blocking,
    root: &Node,
    hub: &UpstreamConfig,
    remoteurl: &Setting<Url>,
) -> Result<Setting<Vec<UpstreamConfig>>, Error> {
    let node = root.get(PROXY_UPSTREAMS.path).filter(|node| !node.is_empty());
    let mut itself = Some(hub.clone());
    let mut others = Vec::new();
    for (name, node) in node.map(sections).transpose()?.unwrap_or_default() {
        let domain = domain(&name, &node.origin)?;
        if domain == hub.domain {
            check_url(&node, remoteurl).map_err(|error| error.within(&name))?;
            itself = hub.clone().with(io, &node).map_err(|error| error.within(&name))?;
        } else {
            let upstream = UpstreamConfig::new(domain.clone(), default_url(&domain, &node.origin)?, hub);
            others.extend(upstream.with(io, &node).map_err(|error| error.within(&name))?);
        }
    }
    let origin = node.map_or(Origin::Default, |node| node.origin.clone());
    Ok(Setting::new(&PROXY_UPSTREAMS, itself.into_iter().chain(others).collect(), "", origin))
}

/// Checks that Docker Hub's own section does not contradict `proxy.remoteurl`.
fn check_url(node: &Node, remoteurl: &Setting<Url>) -> Result<(), Error> {
    let url = Setting::read_optional(&under_wildcard(node), &UPSTREAM_URL, plain_url)?;
    if remoteurl.is_set() && url.is_some() {
        return Err(remoteurl.error("no value beside proxy.upstreams.docker.io.url"));
    }
    Ok(())
}

/// Returns the tree in which a registry's section stands where the paths of the keys have a `*`.
fn under_wildcard(node: &Node) -> Node {
    let mut root = Node::empty();
    root.set(&["proxy", "upstreams", "*"].map(str::to_owned), node.clone());
    root
}

/// Returns each registry's name with its section.
fn sections(node: &Node) -> Result<Vec<(String, Node)>, Error> {
    let Value::Map(sections) = &node.value else { return Err(Error::shape(&PROXY_UPSTREAMS, node)) };
    let mut seen: Vec<Domain> = Vec::new();
    for (name, node) in sections {
        let domain = domain(name, &node.origin)?;
        if seen.contains(&domain) {
            return Err(Error::value(&PROXY_UPSTREAMS, &node.origin, name, "each registry once"));
        }
        seen.push(domain);
        if !matches!(node.value, Value::Null | Value::Map(_)) {
            return Err(Error::section(&format!("{}.{name}", PROXY_UPSTREAMS.path), node));
        }
    }
    Ok(sections.clone())
}

fn domain(name: &str, origin: &Origin) -> Result<Domain, Error> {
    name.parse().map_err(|error| Error::value(&PROXY_UPSTREAMS, origin, name, error))
}

fn default_url(domain: &Domain, origin: &Origin) -> Result<Url, Error> {
    let url = Url::parse(&format!("https://{domain}")).map_err(|error| error.to_string());
    url.map_err(|error| Error::value(&PROXY_UPSTREAMS, origin, domain.as_str(), error))
}

/// The section as YAML. Docker Hub is in it only if other keys, from which `hub` is made, do not say all of it.
pub(super) fn written(upstreams: &[UpstreamConfig], hub: &UpstreamConfig) -> String {
    let is_off = !upstreams.iter().any(|upstream| upstream.domain == hub.domain);
    let off = is_off.then(|| (hub.domain.as_str(), "{enabled: false}".to_owned()));
    let others = upstreams.iter().filter(|upstream| *upstream != hub);
    dump::map(off.into_iter().chain(others.map(|upstream| (upstream.domain.as_str(), upstream.written(&hub.url)))))
}

#[cfg(test)]
mod tests;
