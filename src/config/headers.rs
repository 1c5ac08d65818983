//! `http.headers`: additional response headers.

use super::{
    Error, Setting,
    dump::{self, Line},
    key::Key,
    node::{Node, Value},
};

/// A response header that is valid in HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// A token (RFC 9110, 5.6.2), as it is written in the configuration.
    pub name: String,
    /// Visible ASCII characters, spaces and tabs, without blanks at either end; each is sent as a field line of its
    /// own.
    pub values: Vec<String>,
}

/// The headers that frame the message: another value than the server's would break it.
const FRAMING: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];

pub(super) fn read(root: &Node, key: &'static Key) -> Result<Setting<Vec<Header>>, Error> {
    let Some(node) = root.get(key.path).filter(|node| !node.is_empty()) else {
        return Ok(Setting::default(key, Vec::new()));
    };
    let Value::Map(entries) = &node.value else { return Err(Error::shape(key, node)) };
    let headers = entries.iter().map(|(name, node)| header(key, name, node)).collect::<Result<Vec<_>, _>>()?;
    Ok(Setting::new(key, headers, "", node.origin.clone()))
}

fn header(key: &'static Key, name: &str, node: &Node) -> Result<Header, Error> {
    if name.is_empty() || !name.bytes().all(in_token) {
        return Err(Error::value(key, &node.origin, name, "a header's name such as X-Content-Type-Options"));
    }
    if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)) {
        return Err(Error::value(key, &node.origin, name, "no header that the server itself must set"));
    }
    let values = node.items(key)?.into_iter().map(|(text, origin)| {
        let text = text.trim_matches([' ', '\t']);
        let fits = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        let expected = format!("a value for {name} of plain ASCII characters");
        if fits { Ok(text.to_owned()) } else { Err(Error::value(key, origin, text, expected)) }
    });
    Ok(Header { name: name.to_owned(), values: values.collect::<Result<_, _>>()? })
}

fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn line(headers: &Setting<Vec<Header>>) -> Line {
    Line::map(headers, headers.iter().map(|header| (header.name.as_str(), dump::list(&header.values))))
}
