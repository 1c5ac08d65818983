//! Configuration errors and warnings: one line each, with the place, the key and the expected value.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    Origin,
    key::{Key, ValueKind},
    one_line::OneLine,
    owner,
};

/// An error that prevents the start. Its message is one line and contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {}", OneLine(&path.to_string_lossy()), owner::explain(path, source))]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The text is not YAML, or not a mapping.
    #[error("{origin}: {}", OneLine(problem))]
    Form {
        /// The line of the syntax error.
        origin: Origin,
        /// The fault.
        problem: String,
    },
    /// `version` is missing; `registry:2` requires it too.
    #[error("{}: version is missing; expected a line that says version: 0.1", OneLine(&path.to_string_lossy()))]
    NoVersion {
        /// The file, as it was named.
        path: PathBuf,
    },
    /// Neither `registry:2` nor Entrepot has this key.
    #[error("{origin}: {} is not a key of this program{}", OneLine(key), Hint(suggestion.as_deref()))]
    UnknownKey {
        /// The place of the key.
        origin: Origin,
        /// The full path, with dots.
        key: String,
        /// A known key with a similar name.
        suggestion: Option<String>,
    },
    /// The key is known, its value is invalid.
    #[error("{origin}: {key} is {got}; expected {expected}")]
    Value {
        /// The place of the value.
        origin: Origin,
        /// The key's path, with dots.
        key: Cow<'static, str>,
        /// The value, quoted, and masked if it is secret.
        got: String,
        /// The expected values.
        expected: String,
    },
    /// A setting that is understood but not supported, and that is unsafe to ignore.
    #[error("{origin}: {} {why}", OneLine(key))]
    Refused {
        /// The place of the setting.
        origin: Origin,
        /// The key's path, with dots.
        key: String,
        /// The reason, and what to do.
        why: &'static str,
    },
}

impl Error {
    pub(super) fn value(key: &'static Key, origin: &Origin, text: &str, expected: impl fmt::Display) -> Self {
        Self::Value {
            origin: origin.clone(),
            key: key.path.into(),
            got: quoted(key, text),
            expected: expected.to_string(),
        }
    }

    /// Names the section that a key's `*` stands for.
    pub(super) fn within(self, name: &str) -> Self {
        match self {
            Self::Value { origin, key, got, expected } => {
                let (key, expected) =
                    (key.replace(".*.", &format!(".{name}.")), expected.replace(".*.", &format!(".{name}.")));
                Self::Value { origin, key: key.into(), got, expected }
            }
            other => other,
        }
    }

    pub(super) fn form(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self::Form { origin: Origin::File { path: path.into(), line }, problem: problem.into() }
    }
}

/// Returns a value in the form that messages show: quoted, shortened, and masked where it is secret.
pub(super) fn quoted(key: &Key, text: &str) -> String {
    let text = match key.kind {
        _ if key.secret => "***".into(),
        ValueKind::Url => without_user(text),
        _ => text.to_owned(),
    };
    let end = text.char_indices().nth(80).map_or(text.len(), |(at, _)| at);
    let more = if end < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", OneLine(&text[..end]))
}

/// Replaces all that may be a password in a URL or in something like one.
fn without_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
    format!("{scheme}***@{host}")
}

/// A setting that has no effect, or another effect than the operator may expect.
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

    /// The place of the setting.
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
