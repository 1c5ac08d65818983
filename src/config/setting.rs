//! A configuration value together with its key and its origin.

use std::{fmt, ops::Deref};

use super::{Error, Origin, error::quoted, key::Key, node::Node};

/// A value that has been read, with its key and origin.
#[derive(Clone)]
pub struct Setting<T> {
    value: T,
    key: &'static Key,
    /// The value as it was written, quoted and masked: for messages only.
    written: String,
    origin: Origin,
}

impl<T> Setting<T> {
    /// Creates a value that does not come from a file or a variable. Messages show `written`.
    #[must_use]
    pub fn new(key: &'static Key, value: T, written: &str, origin: Origin) -> Self {
        Self { value, key, written: quoted(key, written), origin }
    }

    /// The default value of `key`.
    pub(super) fn default(key: &'static Key, value: T) -> Self {
        Self::new(key, value, key.default, Origin::Default)
    }

    /// Reads the key's value, or its default if it is missing or empty.
    pub(super) fn read(root: &Node, key: &'static Key, parse: fn(&str) -> Option<T>) -> Result<Self, Error> {
        let (text, origin) = root.text(key)?.unwrap_or((key.default, &Origin::Default));
        let value = parse(text).ok_or_else(|| Error::value(key, origin, text, key.kind.expected()))?;
        Ok(Self::new(key, value, text, origin.clone()))
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    pub(super) fn map(self, change: impl FnOnce(T) -> T) -> Self {
        Self { value: change(self.value), ..self }
    }

    /// Replaces the value and keeps key and origin.
    pub(super) fn with<U>(self, value: U) -> Setting<U> {
        Setting { value, key: self.key, written: self.written, origin: self.origin }
    }

    /// Returns the value alone.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns the key.
    pub fn key(&self) -> &'static Key {
        self.key
    }

    /// Returns the origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns whether the value was set, rather than being the default.
    pub fn is_set(&self) -> bool {
        self.origin != Origin::Default
    }

    /// Returns the error for a well-formed value that is not usable; its message has the same form as that for a
    /// malformed one.
    pub fn error(&self, expected: impl fmt::Display) -> Error {
        Error::Value {
            origin: self.origin.clone(),
            key: self.key.path.into(),
            got: self.written.clone(),
            expected: expected.to_string(),
        }
    }
}

impl<T> Setting<Option<T>> {
    /// Reads a key without a default: `None` if it is missing or empty.
    pub(super) fn read_optional(root: &Node, key: &'static Key, parse: fn(&str) -> Option<T>) -> Result<Self, Error> {
        let Some((text, origin)) = root.text(key)? else { return Ok(Self::default(key, None)) };
        match parse(text) {
            Some(value) => Ok(Self::new(key, Some(value), text, origin.clone())),
            None => Err(Error::value(key, origin, text, key.kind.expected())),
        }
    }
}

impl<T> Setting<Vec<T>> {
    /// Reads a list; a single value counts as a list of one. `parse` fails with a description of the expected values.
    pub(super) fn read_list<E: fmt::Display>(
        root: &Node,
        key: &'static Key,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<Self, Error> {
        let Some(node) = root.get(key.path).filter(|node| !node.is_empty()) else {
            return Ok(Self::default(key, Vec::new()));
        };
        let items = node.items(key)?;
        let parsed = items
            .iter()
            .map(|(text, origin)| parse(text).map_err(|expected| Error::value(key, origin, text, expected)));
        let values = parsed.collect::<Result<_, _>>()?;
        let written: Vec<&str> = items.iter().map(|(text, _)| *text).collect();
        Ok(Self::new(key, values, &written.join(", "), node.origin.clone()))
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.value, self.origin)
    }
}
