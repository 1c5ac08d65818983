//! Parses YAML text into trees of nodes with their lines. Keys are not interpreted.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

/// A node of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlNode {
    /// Its value.
    pub value: YamlValue,
    /// Its line; that of its key, if it has one.
    pub line: usize,
}

/// A node's value. Scalars stay text: only the key tells whether `0123` is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YamlValue {
    /// Nothing, or an unquoted `null`.
    Null,
    /// A scalar.
    Text(String),
    /// A sequence. An alias shares the items of what it names.
    List(Rc<[YamlNode]>),
    /// A mapping, in the order of the text. An alias shares the entries of what it names.
    Map(Rc<[YamlEntry]>),
}

/// A key of a mapping, with its value.
pub type YamlEntry = (String, YamlNode);

/// A document of a stream.
#[derive(Clone, Debug)]
pub struct YamlDocument {
    /// The line that it begins at.
    pub line: usize,
    /// Its content.
    pub root: YamlNode,
}

/// The size of what is accepted.
#[derive(Clone, Copy, Debug)]
pub struct YamlLimits {
    /// The most nodes in all documents: nested aliases could otherwise exhaust the memory.
    pub nodes: usize,
    /// The deepest nesting: a deeper tree could exhaust the stack of recursive functions.
    pub depth: usize,
}

/// The reason that a text is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML, or has something that is not accepted.
    #[error("{problem}")]
    Form {
        /// The line.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// It exceeds [`YamlLimits`].
    #[error("nested too deep or too long")]
    Limits {
        /// The line of the first node beyond them.
        line: usize,
    },
    /// A mapping has a key twice.
    #[error("{key} is given twice, first at line {first}")]
    Repeated {
        /// The line of the second one.
        line: usize,
        /// The key.
        key: String,
        /// The line of the first value.
        first: usize,
    },
}

impl YamlError {
    /// Returns the line that it is about.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Form { line, .. } | Self::Limits { line } | Self::Repeated { line, .. } => *line,
        }
    }
}

impl YamlNode {
    /// Returns the value of a mapping's key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// Returns a mapping's entries; none of any other node.
    #[must_use]
    pub fn entries(&self) -> &[(String, Self)] {
        if let YamlValue::Map(entries) = &self.value { entries } else { &[] }
    }

    /// Returns a sequence's items; none of any other node.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        if let YamlValue::List(items) = &self.value { items } else { &[] }
    }

    /// Returns a scalar's text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let YamlValue::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Returns the nodes directly below it.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.items().iter().chain(self.entries().iter().map(|(_, node)| node))
    }
}

/// Parses all documents of a text; none of an empty one.
///
/// # Errors
/// [`YamlError`] for the first problem.
pub fn documents(text: &str, limits: YamlLimits) -> Result<Vec<YamlDocument>, YamlError> {
    let mut reader = YamlReader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        limits,
        nodes: 0,
        last: text.lines().count().max(1),
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), span) => {
                let root = YamlNode { value: YamlValue::Null, line: span.start.line() };
                documents.push(YamlDocument { line: span.start.line(), root });
            }
            (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
            (event, span) => {
                let Measured { node, .. } = reader.node(event, &span, 0)?;
                if let Some(document) = documents.last_mut() {
                    document.root = node;
                }
            }
        }
    }
}

/// A node with its size.
#[derive(Clone)]
struct Measured {
    node: YamlNode,
    /// The nodes in it, itself included.
    nodes: usize,
    /// The levels of nesting in it; 1 for a scalar.
    levels: usize,
}

struct YamlReader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Complete nodes that an alias may name.
    anchors: HashMap<usize, Measured>,
    limits: YamlLimits,
    nodes: usize,
    /// The text's last line. The parser reports an error at the end one line further.
    last: usize,
}

impl<'a> YamlReader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<Measured, YamlError> {
        let before = self.nodes;
        self.nodes += 1;
        if level > self.limits.depth || self.nodes > self.limits.nodes {
            return Err(YamlError::Limits { line: span.start.line() });
        }
        let (value, levels, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, level),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref()), 0, anchor),
            Event::SequenceStart(anchor, _) => {
                let (items, levels) = self.list(level)?;
                (YamlValue::List(items), levels, anchor)
            }
            Event::MappingStart(anchor, _) => {
                let (entries, levels) = self.map(level)?;
                (YamlValue::Map(entries), levels, anchor)
            }
            _ => return Err(problem(span, "unfinished YAML")),
        };
        let node = YamlNode { value, line: span.start.line() };
        let measured = Measured { node, nodes: self.nodes - before, levels: levels + 1 };
        if anchor > 0 {
            self.anchors.insert(anchor, measured.clone());
        }
        Ok(measured)
    }

    fn alias(&mut self, id: usize, span: &Span, level: usize) -> Result<Measured, YamlError> {
        let Some(named) = self.anchors.get(&id) else {
            return Err(problem(span, "an alias inside of what it names"));
        };
        self.nodes += named.nodes;
        if level + named.levels > self.limits.depth || self.nodes > self.limits.nodes {
            return Err(YamlError::Limits { line: span.start.line() });
        }
        // With the node that stands for the alias itself.
        Ok(Measured { nodes: named.nodes + 1, ..named.clone() })
    }

    /// Returns the items, and the levels of nesting in them.
    fn list(&mut self, level: usize) -> Result<(Rc<[YamlNode]>, usize), YamlError> {
        let (mut items, mut deepest) = (Vec::new(), 0);
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok((items.into(), deepest)),
                (event, span) => {
                    let Measured { node, levels, .. } = self.node(event, &span, level + 1)?;
                    deepest = deepest.max(levels);
                    items.push(node);
                }
            }
        }
    }

    /// Returns the entries, and the levels of nesting in them.
    fn map(&mut self, level: usize) -> Result<(Rc<[YamlEntry]>, usize), YamlError> {
        let (mut entries, mut deepest) = (Vec::new(), 0);
        // The line of each key.
        let mut known = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries.into(), deepest));
            }
            let (key, line) = (self.key(event, &span, level)?, span.start.line());
            if let Some(first) = known.insert(key.clone(), line) {
                return Err(YamlError::Repeated { line, key, first });
            }
            let (event, value_span) = self.next()?;
            let Measured { node, levels, .. } = self.node(event, &value_span, level + 1)?;
            deepest = deepest.max(levels);
            entries.push((key, YamlNode { line, ..node }));
        }
    }

    fn key(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<String, YamlError> {
        if let Event::Scalar(text, ..) = event {
            return Ok(text.into_owned());
        }
        match self.node(event, span, level + 1)?.node.value {
            YamlValue::Text(text) => Ok(text),
            _ => Err(problem(span, "a key that is not a word")),
        }
    }

    fn scan_error(&self, error: &ScanError) -> YamlError {
        let problem = format!("not valid YAML: {}", error.info());
        YamlError::Form { line: error.marker().line().min(self.last), problem }
    }
}

fn problem(span: &Span, problem: &str) -> YamlError {
    YamlError::Form { line: span.start.line(), problem: problem.to_owned() }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> YamlValue {
    let null = matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if null && style == ScalarStyle::Plain && tag.is_none() {
        YamlValue::Null
    } else {
        YamlValue::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: YamlLimits = YamlLimits { nodes: 100, depth: 10 };

    #[test]
    fn documents_keep_their_order_and_lines() {
        let text = "---\na: [1, two]\nb:\n  c: null\n---\n# nothing\n---\nlast\n";
        let documents = documents(text, LIMITS).unwrap();
        assert_eq!(documents.iter().map(|document| document.line).collect::<Vec<_>>(), [1, 5, 7]);
        let first = &documents[0].root;
        assert_eq!(first.get("a").unwrap().items()[1].text(), Some("two"));
        assert_eq!(first.get("b").map(|node| (node.line, node.children().count())), Some((3, 1)));
        assert_eq!(documents[1].root.value, YamlValue::Null);
        assert_eq!(documents[2].root.text(), Some("last"));
    }

    #[test]
    fn aliases_count_against_the_limits() {
        let text = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\nb: &b [*a, *a, *a, *a, *a]\nc: [*b, *b]\n";
        assert_eq!(documents(text, LIMITS).unwrap_err(), YamlError::Limits { line: 3 });
    }

    #[test]
    fn an_alias_shares_what_it_names() {
        let documents = documents("a: &a [1, &b [2]]\nc: *a\nd: *b\n", LIMITS).unwrap();
        let items = |key: &str| documents[0].root.get(key).unwrap().items();
        assert!(std::ptr::eq(items("a"), items("c")) && std::ptr::eq(items("a")[1].items(), items("d")));
        assert_eq!(documents[0].root.get("c").unwrap().line, 2);
    }

    #[test]
    fn aliases_count_as_levels() {
        let deep = |levels: usize| {
            let text = format!("a: &a {}1{}\nb: [[[*a]]]\n", "[".repeat(levels), "]".repeat(levels));
            documents(&text, LIMITS).map(drop)
        };
        assert_eq!((deep(5), deep(6)), (Ok(()), Err(YamlError::Limits { line: 2 })));
    }

    #[test]
    fn many_keys_take_no_longer_each_than_few() {
        let text: String = (0..100_000).map(|number| format!("key{number}: 1\n")).collect();
        let begun = std::time::Instant::now();
        documents(&text, YamlLimits { nodes: 1_000_000, depth: 10 }).unwrap();
        // Compared with all others, each key takes milliseconds.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_key_is_given_once() {
        let error = documents("a: 1\nb: 2\na: 3\n", LIMITS).unwrap_err();
        assert_eq!((error.line(), error.to_string().as_str()), (3, "a is given twice, first at line 1"));
    }
}
