//! The tree of raw values that the file and the variables are merged into, each value with its origin.

use super::{Error, Origin, key::Key};

/// A node of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A node's value. Scalars stay text: only the key tells whether `0123` is a number.
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

    /// Returns the node at `path`, names joined by dots; only for paths of the table, whose names have no dots.
    pub(super) fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.entry(name))
    }

    fn entry(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Returns the scalar at `key`, or `None` if it is missing or empty: Go's decoder treats both alike.
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

    /// Returns the texts of a list; a single value counts as a list of one.
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

    /// Puts `node` at `path` and replaces the value there. A scalar on the way is replaced by a mapping.
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

    /// Returns the item at `index`. As in `registry:2`, a variable may replace an item or add one at the end.
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
        // A variable's name is in upper case; a header's name in the file keeps its case.
        let index = entries.iter().position(|(key, _)| key.eq_ignore_ascii_case(name)).unwrap_or(entries.len());
        if index == entries.len() {
            entries.push((name.to_owned(), Self { value: Value::Null, origin: origin.clone() }));
        }
        &mut entries[index].1
    }

    /// Returns whether the value is null or an empty container.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// Returns whether the value contains no scalar at any depth.
    pub(super) fn is_blank(&self) -> bool {
        match &self.value {
            Value::List(items) => items.iter().all(Self::is_blank),
            Value::Map(entries) => entries.iter().all(|(_, node)| node.is_blank()),
            _ => self.is_empty(),
        }
    }

    /// Expands short forms: `storage: filesystem` to `storage: {filesystem: {}}`; the same for `auth`. A list of
    /// upstreams becomes a map, so that a variable can set one key of one of them.
    pub(super) fn spell_out(&mut self) {
        let Value::Map(entries) = &mut self.value else { return };
        for (name, node) in entries {
            if name == "proxy" {
                node.spell_out_names("upstreams");
            } else if let Value::Text(text) = &node.value
                && matches!(name.as_str(), "storage" | "auth")
                && !text.is_empty()
            {
                let inner = Self { value: Value::Map(Vec::new()), origin: node.origin.clone() };
                node.value = Value::Map(vec![(text.clone(), inner)]);
            }
        }
    }
}

impl Node {
    /// Turns the list of names at `wanted`, or the text with commas between them, into a map of empty sections.
    fn spell_out_names(&mut self, wanted: &str) {
        let Value::Map(entries) = &mut self.value else { return };
        let Some((_, node)) = entries.iter_mut().find(|(name, _)| name == wanted) else { return };
        let empty =
            |name: &str, origin: &Origin| (name.trim().to_owned(), Self { value: Value::Null, origin: origin.clone() });
        let names = match &node.value {
            Value::Text(names) => names.split(',').map(|name| empty(name, &node.origin)).collect(),
            Value::List(items) => {
                let text = |item: &Self| match &item.value {
                    Value::Text(name) => Some(empty(name, &item.origin)),
                    _ => None,
                };
                match items.iter().map(text).collect() {
                    Some(names) => names,
                    // The reader of the section reports the wrong shape.
                    None => return,
                }
            }
            Value::Null | Value::Map(_) => return,
        };
        node.value = Value::Map(names);
    }
}

impl Error {
    pub(super) fn shape(key: &'static Key, node: &Node) -> Self {
        Self::item_shape(key, node, &key.kind.expected())
    }

    pub(super) fn item_shape(key: &'static Key, node: &Node, expected: &str) -> Self {
        let (origin, got) = (node.origin.clone(), kind_of(node).to_owned());
        Self::Value { origin, key: key.path.into(), got, expected: expected.to_owned() }
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
