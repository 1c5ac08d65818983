//! Reads YAML text into the tree that the configuration is read from.

use std::{path::Path, str, sync::Arc};

use super::{
    Error, Origin,
    node::{Node, Value},
};
use crate::yaml::{self, YamlError, YamlLimits, YamlNode, YamlValue};

/// Larger than any configuration.
const LIMITS: YamlLimits = YamlLimits { nodes: 10_000, depth: 64 };

/// Parses a file; an empty file is a null.
///
/// # Errors
/// [`Error::Form`] with file and line: not UTF-8, not YAML, several documents, a key given twice, no mapping.
pub(super) fn file(path: &Path, bytes: &[u8]) -> Result<Node, Error> {
    let shared: Arc<Path> = path.into();
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::form(path, line, "not text in UTF-8")
    })?;
    let at = |line| Origin::File { path: Arc::clone(&shared), line };
    let mut root = read(text.trim_start_matches('\u{feff}'), &at)?;
    if let Value::List(_) | Value::Text(_) = root.value {
        return Err(Error::Form {
            origin: root.origin,
            problem: "expected keys with values, such as version: 0.1".into(),
        });
    }
    root.spell_out();
    Ok(root)
}

/// Parses a variable's value.
///
/// # Errors
/// [`Error::Form`] with the variable's name.
pub(super) fn variable(origin: &Origin, text: &str) -> Result<Node, Error> {
    read(text, &|_| origin.clone())
}

/// Parses the only document of a text. `at` maps a line to an origin.
fn read(text: &str, at: &dyn Fn(usize) -> Origin) -> Result<Node, Error> {
    let mut documents = yaml::documents(text, LIMITS).map_err(|error| form(&error, at))?.into_iter();
    let first = documents.next().map(|document| node(&document.root, at));
    match documents.next() {
        None => Ok(first.unwrap_or_else(|| Node { value: Value::Null, origin: at(1) })),
        Some(second) => {
            Err(Error::Form { origin: at(second.line), problem: "a second YAML document; expected one".into() })
        }
    }
}

fn form(error: &YamlError, at: &dyn Fn(usize) -> Origin) -> Error {
    let problem = match error {
        YamlError::Form { problem, .. } => problem.clone(),
        YamlError::Limits { .. } => format!("{error} for a configuration"),
        YamlError::Repeated { key, first, .. } => format!("{key} is given twice, first at {}", at(*first)),
    };
    Error::Form { origin: at(error.line()), problem }
}

fn node(parsed: &YamlNode, at: &dyn Fn(usize) -> Origin) -> Node {
    let value = match &parsed.value {
        YamlValue::Null => Value::Null,
        YamlValue::Text(text) => Value::Text(text.clone()),
        YamlValue::List(items) => Value::List(items.iter().map(|item| node(item, at)).collect()),
        YamlValue::Map(entries) => {
            Value::Map(entries.iter().map(|(name, entry)| (name.clone(), node(entry, at))).collect())
        }
    };
    Node { value, origin: at(parsed.line) }
}
