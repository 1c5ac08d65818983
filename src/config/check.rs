//! Checks the configuration's keys against the table of keys: misspelt, ignored and refused ones.
//!
//! The values of used keys are checked by the files of their sections.

use std::path::Path;

use super::{
    Config, Error, UpstreamConfig, Warning,
    key::{Effect, Key, ValueKind},
    lookup::{KeyMatch, find, suggest},
    node::{Node, Value},
    used_keys::VERSION,
};
use crate::oci::Domain;

/// Checks the version. A file must name it before anything else in it is trusted.
pub(super) fn version(path: &Path, root: &Node) -> Result<(), Error> {
    match root.text(&VERSION)? {
        Some((text, _)) if text == VERSION.default => Ok(()),
        Some((text, origin)) => Err(Error::value(&VERSION, origin, text, VERSION.default)),
        None => Err(Error::NoVersion { path: path.into() }),
    }
}

/// Checks every key of the tree.
pub(super) fn check(root: &Node, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let mut walk = Walk { path: Vec::new(), warned: false, warnings };
    walk.entries(root)
}

/// Checks for contradictions between settings: a repository cannot be both hosted and mirrored, and a mirror listener
/// needs the mirror enabled.
pub(super) fn names(config: &Config) -> Result<(), Error> {
    for UpstreamConfig { domain, .. } in config.proxy.mirrored() {
        if config.http.is_named(domain) {
            let remedy = match *domain == Domain::docker_hub() {
                true => "; proxy.enabled: false frees the name",
                false => "",
            };
            return Err(config.http.names.error(format!("no {domain}, which is mirrored{remedy}")));
        }
    }
    let is_mirrored = |domain: &Domain| config.proxy.mirrored().iter().any(|upstream| upstream.domain == *domain);
    if let Some((host, domain)) = config.http.hosts.iter().find(|(_, domain)| !is_mirrored(domain)) {
        let expected = format!("a registry of proxy.upstreams for {host}; {domain} is none");
        return Err(config.http.hosts.error(expected));
    }
    if !*config.proxy.enabled && config.http.mirror.is_some() {
        return Err(config.http.mirror.error("nothing, since proxy.enabled is false"));
    }
    Ok(())
}

struct Walk<'a> {
    path: Vec<&'a str>,
    /// A warning about the enclosing section has been given.
    warned: bool,
    warnings: &'a mut Vec<Warning>,
}

impl<'a> Walk<'a> {
    fn entries(&mut self, node: &'a Node) -> Result<(), Error> {
        match &node.value {
            Value::Null => Ok(()),
            Value::Map(entries) => entries.iter().try_for_each(|(name, node)| self.entry(name, node)),
            Value::Text(_) | Value::List(_) => Err(Error::section(&self.path.join("."), node)),
        }
    }

    fn entry(&mut self, name: &'a str, node: &'a Node) -> Result<(), Error> {
        self.path.push(name);
        let warned = self.warned;
        match find(&self.path) {
            KeyMatch::Key(key) => self.key(key, node)?,
            KeyMatch::Section => self.entries(node)?,
            KeyMatch::Nothing => return Err(self.unknown(node)),
        }
        self.warned = warned;
        self.path.pop();
        Ok(())
    }

    fn unknown(&self, node: &Node) -> Error {
        let key = self.path.join(".");
        Error::UnknownKey { origin: node.origin.clone(), suggestion: suggest(&key), key }
    }

    fn key(&mut self, key: &'static Key, node: &'a Node) -> Result<(), Error> {
        match key.effect {
            Effect::Refused(why) if demands(key, node) => {
                return Err(Error::Refused { origin: node.origin.clone(), key: self.path.join("."), why });
            }
            Effect::NoEffect(why) if !self.warned && !node.is_blank() => {
                self.warned = true;
                let text = format!("{} has no effect here: {why}", self.path.join("."));
                self.warnings.push(Warning::new(&node.origin, text));
            }
            _ => {}
        }
        match (key.kind, &node.value) {
            (ValueKind::Section, _) | (ValueKind::Upstreams, Value::Map(_)) => self.entries(node),
            _ => Ok(()),
        }
    }
}

/// Returns whether the node demands something. `auth:` alone does not, `inmemory:` alone does.
fn demands(key: &Key, node: &Node) -> bool {
    match key.kind {
        ValueKind::Driver => true,
        ValueKind::Opaque => !node.is_empty(),
        _ => !node.is_blank(),
    }
}
