//! Parses YAML text into trees of nodes with their lines. Keys are not interpreted.

use std::collections::HashMap;

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
    /// A sequence.
    List(Vec<YamlNode>),
    /// A mapping, in the order of the text.
    Map(Vec<(String, YamlNode)>),
}

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

    fn count(&self) -> usize {
        1 + self.children().map(Self::count).sum::<usize>()
    }

    fn levels(&self) -> usize {
        1 + self.children().map(Self::levels).max().unwrap_or(0)
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
                let root = reader.node(event, &span, 0)?;
                documents.last_mut().into_iter().for_each(|document| document.root = root.clone());
            }
        }
    }
}

struct YamlReader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Complete nodes that an alias may name.
    anchors: HashMap<usize, YamlNode>,
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

    fn node(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<YamlNode, YamlError> {
        self.nodes += 1;
        if level > self.limits.depth || self.nodes > self.limits.nodes {
            return Err(YamlError::Limits { line: span.start.line() });
        }
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, level),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref()), anchor),
            Event::SequenceStart(anchor, _) => (self.list(level)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(level)?, anchor),
            _ => return Err(problem(span, "unfinished YAML")),
        };
        let node = YamlNode { value, line: span.start.line() };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &Span, level: usize) -> Result<YamlNode, YamlError> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(problem(span, "an alias inside of what it names"));
        };
        self.nodes += node.count();
        if level + node.levels() > self.limits.depth || self.nodes > self.limits.nodes {
            return Err(YamlError::Limits { line: span.start.line() });
        }
        Ok(node)
    }

    fn list(&mut self, level: usize) -> Result<YamlValue, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(YamlValue::List(items)),
                (event, span) => items.push(self.node(event, &span, level + 1)?),
            }
        }
    }

    fn map(&mut self, level: usize) -> Result<YamlValue, YamlError> {
        let mut entries: Vec<(String, YamlNode)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(YamlValue::Map(entries));
            }
            let (key, line) = (self.key(event, &span, level)?, span.start.line());
            if let Some((_, first)) = entries.iter().find(|(other, _)| *other == key) {
                return Err(YamlError::Repeated { line, key, first: first.line });
            }
            let (event, value_span) = self.next()?;
            let node = self.node(event, &value_span, level + 1)?;
            entries.push((key, YamlNode { line, ..node }));
        }
    }

    fn key(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<String, YamlError> {
        if let Event::Scalar(text, ..) = event {
            return Ok(text.into_owned());
        }
        match self.node(event, span, level + 1)?.value {
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
    fn a_key_is_given_once() {
        let error = documents("a: 1\nb: 2\na: 3\n", LIMITS).unwrap_err();
        assert_eq!((error.line(), error.to_string().as_str()), (3, "a is given twice, first at line 1"));
    }
}
