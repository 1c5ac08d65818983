//! Lines of the server's own access log, as text or as JSON, for a trace. docs/logs.md has the fields.
//!
//! A trace needs the pulls of mirrored content that were answered with the object or its beginning. Everything else in
//! a log is skipped: other lines, HEADs, errors, parts of a blob that begin later, and content that was pushed, which
//! is never evicted.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::oci::Domain;

/// A pull, as the log has it. Nothing in it is validated.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct LoggedPull {
    #[serde(rename = "timestamp")]
    pub(super) time: String,
    pub(super) repository: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) kind: String,
    #[serde(flatten)]
    condition: PullCondition,
}

/// The fields that tell if a line is a pull for a trace.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct PullCondition {
    method: String,
    status: u16,
    /// Only mirrored content has one.
    upstream: String,
    #[serde(default)]
    range: String,
}

/// Returns whether a file that begins with this line is a log, rather than a table of requests.
pub(super) fn is_log(line: &str) -> bool {
    line.starts_with('{') || line.split_whitespace().nth(1).is_some_and(|level| LEVELS.contains(&level))
}

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Returns the pull of a line; `None` if the line is about anything else.
pub(super) fn pull(line: &str) -> Option<LoggedPull> {
    let mut pull: LoggedPull = match line.starts_with('{') {
        true => serde_json::from_str(line).ok()?,
        false => serde_json::from_value(fields(line)?.into()).ok()?,
    };
    let PullCondition { method, status, range, upstream } = &pull.condition;
    let is_whole = *status == 200 || (*status == 206 && range.starts_with("bytes=0-"));
    let is_pull = method == "GET" && is_whole && ["manifest", "blob"].contains(&pull.kind.as_str());
    if upstream != Domain::docker_hub().as_str() {
        // The same name on two registries is two repositories.
        pull.repository = format!("{upstream}/{}", pull.repository);
    }
    is_pull.then_some(pull)
}

/// Parses `TIME LEVEL name=value name="quoted value" …`.
fn fields(line: &str) -> Option<Map<String, Value>> {
    let (time, rest) = line.split_once(char::is_whitespace)?;
    let (_level, mut rest) = rest.trim_start().split_once(' ')?;
    let mut found = Map::from_iter([("timestamp".to_owned(), time.into())]);
    while let Some((name, text)) = rest.trim_start().split_once('=') {
        let (value, after) = value(text)?;
        found.insert(name.to_owned(), value);
        rest = after;
    }
    Some(found)
}

/// Parses the value at the start of a text. Returns the rest as well.
fn value(text: &str) -> Option<(Value, &str)> {
    if text.starts_with('"') {
        // Strings are escaped as in JSON, except for characters that no field of a pull contains.
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let parsed = values.next()?.ok()?;
        return Some((parsed, text.get(values.byte_offset()..)?));
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some((word.parse::<u64>().map_or_else(|_| word.into(), Value::from), rest))
}
