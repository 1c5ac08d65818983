//! Holding what was said against the table of keys: misspellings, vain words, demands that must not be passed over.
//!
//! Values of the keys that are used are looked at by their sections.

use std::path::Path;

use super::{
    Config, Error, Warning,
    key_lookup::{KeyMatch, find, suggest},
    keys::{Effect, Key, Kind},
    known_keys::VERSION,
    node::{Node, Value},
};
use crate::oci::Domain;

/// The version a file must name, before anything else in it is trusted.
pub(super) fn version(path: &Path, root: &Node) -> Result<(), Error> {
    match root.text(&VERSION)? {
        Some((text, _)) if text == VERSION.default => Ok(()),
        Some((text, origin)) => Err(Error::value(&VERSION, origin, text, VERSION.default)),
        None => Err(Error::NoVersion { path: path.into() }),
    }
}

/// Every key of the tree.
pub(super) fn check(root: &Node, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let mut walk = Walk { path: Vec::new(), told: false, warnings };
    walk.entries(root)
}

/// What two settings cannot say at once: one name cannot mean both what is pushed here and what is mirrored, and what is
/// not mirrored needs no door.
pub(super) fn names(config: &Config) -> Result<(), Error> {
    if *config.proxy.enabled && config.http.is_named(&Domain::docker_hub()) {
        let names = &config.http.names;
        return Err(names.error("no docker.io, which is mirrored; proxy.enabled: false frees the name"));
    }
    if !*config.proxy.enabled && config.http.mirror.is_some() {
        return Err(config.http.mirror.error("nothing, since proxy.enabled is false"));
    }
    Ok(())
}

struct Walk<'a> {
    path: Vec<&'a str>,
    /// The section around has already been called vain.
    told: bool,
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
        let told = self.told;
        match find(&self.path) {
            KeyMatch::Key(key) => self.key(key, node)?,
            KeyMatch::Section => self.entries(node)?,
            KeyMatch::Nothing => return Err(self.unknown(node)),
        }
        self.told = told;
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
            Effect::NoEffect(why) if !self.told && !node.is_blank() => {
                self.told = true;
                let text = format!("{} has no effect here: {why}", self.path.join("."));
                self.warnings.push(Warning::new(&node.origin, text));
            }
            _ => {}
        }
        if key.kind == Kind::Section { self.entries(node) } else { Ok(()) }
    }
}

/// Whether what stands under a key asks for something. `auth:` alone does not, `inmemory:` alone does.
fn demands(key: &Key, node: &Node) -> bool {
    match key.kind {
        Kind::Driver => true,
        Kind::Opaque => !node.is_empty(),
        _ => !node.is_blank(),
    }
}
