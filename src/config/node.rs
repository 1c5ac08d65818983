//! The tree that file and variables are laid into: values not yet looked at, each with its origin.

use super::{Error, Origin, keys::Key};

/// One place of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What stands there. Scalars stay the text that was written: only their key tells whether `0123` is a number.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn empty() -> Self {
        Self { value: Value::Null, origin: Origin::Default }
    }

    /// The node under `path`, keys joined by dots; only for paths of the table, whose keys have no dots.
    pub(super) fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.entry(name))
    }

    fn entry(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The scalar under `key`; `None` if nobody gave one, or an empty one: in Go's files that is the same.
    pub(super) fn text(&self, key: &'static Key) -> Result<Option<(&str, &Origin)>, Error> {
        match self.get(key.path) {
            Some(node) => match &node.value {
                Value::Null => Ok(None),
                Value::Text(text) if text.is_empty() => Ok(None),
                Value::Text(text) => Ok(Some((text, &node.origin))),
                Value::List(_) | Value::Map(_) => Err(Error::shape(key, node)),
            },
            None => Ok(None),
        }
    }

    /// The texts of a list, or of a single value as a list of one.
    pub(super) fn items(&self, key: &'static Key) -> Result<Vec<(&str, &Origin)>, Error> {
        match &self.value {
            Value::List(items) => items.iter().map(|item| item.item_text(key)).collect(),
            _ => Ok(vec![self.item_text(key)?]),
        }
    }

    fn item_text(&self, key: &'static Key) -> Result<(&str, &Origin), Error> {
        match &self.value {
            Value::Null => Ok(("", &self.origin)),
            Value::Text(text) => Ok((text, &self.origin)),
            Value::List(_) | Value::Map(_) => Err(Error::item_shape(key, self, "a list of single values")),
        }
    }

    /// Puts `node` at `path`, in place of all that stood there. What is in the way and cannot hold it goes.
    pub(super) fn set(&mut self, path: &[String], node: Self) {
        match path.split_first() {
            None => *self = node,
            Some((name, rest)) => self.child(name, &node.origin).set(rest, node),
        }
    }

    fn child(&mut self, name: &str, origin: &Origin) -> &mut Self {
        match name.parse() {
            Ok(index) if matches!(self.value, Value::Null | Value::List(_)) => self.item(index, origin),
            _ => self.member(name, origin),
        }
    }

    /// A variable may replace a list's items and add one at its end, as in `registry:2`.
    fn item(&mut self, index: usize, origin: &Origin) -> &mut Self {
        if !matches!(self.value, Value::List(_)) {
            *self = Self { value: Value::List(Vec::new()), origin: origin.clone() };
        }
        let Value::List(items) = &mut self.value else { unreachable!("made a list above") };
        let index = index.min(items.len());
        if index == items.len() {
            items.push(Self { value: Value::Null, origin: origin.clone() });
        }
        &mut items[index]
    }

    fn member(&mut self, name: &str, origin: &Origin) -> &mut Self {
        if !matches!(self.value, Value::Map(_)) {
            *self = Self { value: Value::Map(Vec::new()), origin: origin.clone() };
        }
        let Value::Map(entries) = &mut self.value else { unreachable!("made a map above") };
        // A variable's name has lost its case; a header's name in the file has not.
        let index = entries.iter().position(|(key, _)| key.eq_ignore_ascii_case(name)).unwrap_or(entries.len());
        if index == entries.len() {
            entries.push((name.to_owned(), Self { value: Value::Null, origin: origin.clone() }));
        }
        &mut entries[index].1
    }

    /// Nothing, or a container of nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// Nothing, or containers of nothing all the way down.
    pub(super) fn is_blank(&self) -> bool {
        match &self.value {
            Value::List(items) => items.iter().all(Self::is_blank),
            Value::Map(entries) => entries.iter().all(|(_, node)| node.is_blank()),
            _ => self.is_empty(),
        }
    }

    /// `storage: filesystem` is short for `storage: {filesystem: {}}`; the same with `auth`.
    pub(super) fn spell_out(&mut self) {
        let Value::Map(entries) = &mut self.value else { return };
        for (name, node) in entries {
            if let Value::Text(text) = &node.value
                && matches!(name.as_str(), "storage" | "auth")
                && !text.is_empty()
            {
                let inner = Self { value: Value::Map(Vec::new()), origin: node.origin.clone() };
                node.value = Value::Map(vec![(text.clone(), inner)]);
            }
        }
    }
}

impl Error {
    pub(super) fn shape(key: &'static Key, node: &Node) -> Self {
        Self::item_shape(key, node, &key.kind.expected())
    }

    pub(super) fn item_shape(key: &'static Key, node: &Node, expected: &str) -> Self {
        let (origin, got) = (node.origin.clone(), kind_of(node).to_owned());
        Self::Value { origin, key: key.path, got, expected: expected.to_owned() }
    }

    pub(super) fn section(path: &str, node: &Node) -> Self {
        let problem = format!("{path} is {}; expected a section of keys", kind_of(node));
        Self::Form { origin: node.origin.clone(), problem }
    }
}

fn kind_of(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "nothing",
        Value::Text(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a section",
    }
}
