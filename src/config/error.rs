//! What is wrong with a configuration, or vain about it: one line each, naming the place, the key and what was expected.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    Origin,
    keys::{Key, Kind},
    origin::OneLine,
    owner,
};

/// Why a configuration cannot be started with. Its message is one line and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read at all.
    #[error("{}: cannot be read: {}", OneLine(&path.to_string_lossy()), owner::explain(path, source))]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The text is not YAML, or YAML of another shape than a configuration has.
    #[error("{origin}: {}", OneLine(problem))]
    Form {
        /// Where it stopped making sense.
        origin: Origin,
        /// What is the matter there.
        problem: String,
    },
    /// `version` is missing, without which `registry:2` reads no file either.
    #[error("{}: version is missing; expected a line that says version: 0.1", OneLine(&path.to_string_lossy()))]
    NoVersion {
        /// The file, as it was named.
        path: PathBuf,
    },
    /// Neither `registry:2` nor this program has such a key.
    #[error("{origin}: {} is not a key of this program{}", OneLine(key), Hint(suggestion.as_deref()))]
    UnknownKey {
        /// Where it was said.
        origin: Origin,
        /// The whole path, with dots.
        key: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The key is right, its value is not.
    #[error("{origin}: {key} is {got}; expected {expected}")]
    Value {
        /// Where it was said.
        origin: Origin,
        /// The key's path, with dots.
        key: &'static str,
        /// The value, quoted, and masked if it is secret.
        got: String,
        /// What would have been right.
        expected: String,
    },
    /// A demand that is understood and cannot be met, and that it would be unsafe to pass over.
    #[error("{origin}: {} {why}", OneLine(key))]
    Refused {
        /// Where it was said.
        origin: Origin,
        /// The key's path, with dots.
        key: String,
        /// The reason, and what to do.
        why: &'static str,
    },
}

impl Error {
    pub(super) fn value(key: &'static Key, origin: &Origin, text: &str, expected: impl fmt::Display) -> Self {
        Self::Value { origin: origin.clone(), key: key.path, got: shown(key, text), expected: expected.to_string() }
    }

    pub(super) fn form(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Form { origin: Origin::File { path: path.into(), line }, problem: problem.into() }
    }
}

/// A value as a message may show it: quoted, not endless, and without what must not be shown.
pub(super) fn shown(key: &Key, text: &str) -> String {
    let text = match key.kind {
        _ if key.secret => "***".into(),
        Kind::Url => without_user(text),
        _ => text.to_owned(),
    };
    let end = text.char_indices().nth(80).map_or(text.len(), |(at, _)| at);
    let more = if end < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", OneLine(&text[..end]))
}

/// A URL, or what was meant as one, with whatever may be a password in it replaced.
fn without_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
    format!("{scheme}***@{host}")
}

/// Something that was said and changes nothing, or not what its operator may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    origin: Origin,
    text: String,
}

impl Warning {
    pub(super) fn new(origin: &Origin, text: impl Into<String>) -> Self {
        Self { origin: origin.clone(), text: text.into() }
    }

    pub(super) fn unknown_variable(origin: &Origin, key: &str, suggestion: Option<&str>) -> Self {
        Self::new(origin, format!("{key} is not a key of this program{}; the variable is ignored", Hint(suggestion)))
    }

    /// Where it was said.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, OneLine(&self.text))
    }
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |meant| write!(f, " (did you mean {meant}?)"))
    }
}
