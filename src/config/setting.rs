//! A value together with its key and where it was said.

use std::{fmt, ops::Deref};

use super::{Error, Origin, error::shown, keys::Key, node::Node};

/// A value that has been read, and can still say where from.
#[derive(Clone)]
pub struct Setting<T> {
    value: T,
    key: &'static Key,
    /// As it was written, quoted and masked: for messages only.
    written: String,
    origin: Origin,
}

impl<T> Setting<T> {
    /// A value for `key` that does not come from a file or a variable. `written` is what messages show of it.
    #[must_use]
    pub fn new(key: &'static Key, value: T, written: &str, origin: Origin) -> Self {
        Self { value, key, written: shown(key, written), origin }
    }

    /// The key's value, its default if nobody said anything or said nothing.
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

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The key it stands under.
    pub fn key(&self) -> &'static Key {
        self.key
    }

    /// Who said it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether anybody said it, rather than nobody.
    pub fn is_set(&self) -> bool {
        self.origin != Origin::Default
    }

    /// The complaint that this value, though well formed, does not do: the same line as for one that is not.
    pub fn error(&self, expected: impl fmt::Display) -> Error {
        Error::Value {
            origin: self.origin.clone(),
            key: self.key.path,
            got: self.written.clone(),
            expected: expected.to_string(),
        }
    }
}

impl<T> Setting<Option<T>> {
    /// A key without a default: nobody's word, or an empty one, is `None`.
    pub(super) fn read_optional(root: &Node, key: &'static Key, parse: fn(&str) -> T) -> Result<Self, Error> {
        Ok(match root.text(key)? {
            Some((text, origin)) => Self::new(key, Some(parse(text)), text, origin.clone()),
            None => Self::new(key, None, key.default, Origin::Default),
        })
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
