//! Parses YAML text into a tree of nodes. Keys are not interpreted.

use std::{collections::HashMap, path::Path, str, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{
    Error, Origin,
    node::{Node, Value},
};

/// The limit for nodes, larger than any configuration: nested aliases could otherwise exhaust the memory.
const MAX_NODES: usize = 10_000;
/// The limit for nesting, larger than any configuration: a deeper tree could exhaust the stack of recursive functions.
const MAX_DEPTH: usize = 64;

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
    let mut root = YamlReader::read(text.trim_start_matches('\u{feff}'), &at)?;
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
    YamlReader::read(text, &|_| origin.clone())
}

struct YamlReader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Maps a line to an origin.
    at: &'a dyn Fn(usize) -> Origin,
    /// Complete nodes that an alias may name.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// The text's last line. The parser reports an error at the end one line further.
    last: usize,
}

impl<'a> YamlReader<'a> {
    fn read(text: &'a str, at: &'a dyn Fn(usize) -> Origin) -> Result<Node, Error> {
        let mut reader = Self {
            events: Parser::new_from_str(text),
            at,
            anchors: HashMap::new(),
            nodes: 0,
            last: text.lines().count().max(1),
        };
        let mut root = Node { value: Value::Null, origin: at(1) };
        let mut documents = 0;
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), span) if documents > 0 => {
                    return Err(reader.problem(&span, "a second YAML document; expected one"));
                }
                (Event::DocumentStart(_), _) => documents += 1,
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, span) => root = reader.node(event, &span, 0)?,
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.scan_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<Node, Error> {
        self.nodes += 1;
        if level > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(self.problem(span, "nested too deep or too long for a configuration"));
        }
        let (value, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, level),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref()), anchor),
            Event::SequenceStart(anchor, _) => (self.list(level)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(level)?, anchor),
            _ => return Err(self.problem(span, "unfinished YAML")),
        };
        let node = Node { value, origin: (self.at)(span.start.line()) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &Span, level: usize) -> Result<Node, Error> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(self.problem(span, "an alias inside of what it names"));
        };
        self.nodes += count(&node);
        if level + levels(&node) > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(self.problem(span, "nested too deep or too long for a configuration"));
        }
        Ok(node)
    }

    fn list(&mut self, level: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, &span, level + 1)?),
            }
        }
    }

    fn map(&mut self, level: usize) -> Result<Value, Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let name = self.key(event, &span, level)?;
            if let Some((_, first)) = entries.iter().find(|(other, _)| *other == name) {
                return Err(self.problem(&span, &format!("{name} is given twice, first at {}", first.origin)));
            }
            let (event, value_span) = self.next()?;
            let mut node = self.node(event, &value_span, level + 1)?;
            // A section's origin is the line of its own key, not of the first key in it.
            node.origin = (self.at)(span.start.line());
            entries.push((name, node));
        }
    }

    fn key(&mut self, event: Event<'a>, span: &Span, level: usize) -> Result<String, Error> {
        if let Event::Scalar(text, ..) = event {
            return Ok(text.into_owned());
        }
        match self.node(event, span, level + 1)?.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.problem(span, "a key that is not a word")),
        }
    }

    fn problem(&self, span: &Span, problem: &str) -> Error {
        Error::Form { origin: (self.at)(span.start.line()), problem: problem.to_owned() }
    }

    fn scan_error(&self, error: &ScanError) -> Error {
        let problem = format!("not valid YAML: {}", error.info());
        Error::Form { origin: (self.at)(error.marker().line().min(self.last)), problem }
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let null = matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if null && style == ScalarStyle::Plain && tag.is_none() { Value::Null } else { Value::Text(text.to_owned()) }
}

fn children(node: &Node) -> Box<dyn Iterator<Item = &Node> + '_> {
    match &node.value {
        Value::List(items) => Box::new(items.iter()),
        Value::Map(entries) => Box::new(entries.iter().map(|(_, node)| node)),
        _ => Box::new([].iter()),
    }
}

fn count(node: &Node) -> usize {
    1 + children(node).map(count).sum::<usize>()
}

fn levels(node: &Node) -> usize {
    1 + children(node).map(levels).max().unwrap_or(0)
}
