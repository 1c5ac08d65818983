//! The parts of an image configuration that people want to see (image-spec, `config.md`). Fields of another type than
//! the specification's are left out.

use serde_json::Value;

/// The parts of a configuration that are shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ImageConfig {
    /// Names and values: the platform, times, the command and the like.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The labels.
    pub(super) labels: Vec<(String, String)>,
    /// The steps that made the image, oldest first.
    pub(super) history: Vec<String>,
}

/// The fields that are shown, with their paths.
const FIELDS: [(&str, &str); 9] = [
    ("Created", "/created"),
    ("Author", "/author"),
    ("Operating system", "/os"),
    ("Architecture", "/architecture"),
    ("Entry point", "/config/Entrypoint"),
    ("Command", "/config/Cmd"),
    ("User", "/config/User"),
    ("Working directory", "/config/WorkingDir"),
    ("Environment", "/config/Env"),
];

impl ImageConfig {
    /// Reads a configuration; `None` if it is no JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok().filter(Value::is_object)?;
        let field = |(name, path): (&'static str, &str)| Some((name, words(document.pointer(path)?)?));
        let steps = document.get("history").and_then(Value::as_array).into_iter().flatten();
        let step = |step: &Value| words(step.get("created_by").or_else(|| step.get("comment"))?);
        Some(Self {
            fields: FIELDS.into_iter().filter_map(field).collect(),
            labels: pairs(document.pointer("/config/Labels")),
            history: steps.filter_map(step).collect(),
        })
    }
}

/// Returns the annotations of a manifest: image-spec, `annotations.md`.
pub(super) fn annotations(manifest: &[u8]) -> Vec<(String, String)> {
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    pairs(document.get("annotations"))
}

fn pairs(map: Option<&Value>) -> Vec<(String, String)> {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), words(value)?))).collect()
}

/// Returns a string, or the strings of a list; `None` if there are none.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_shown() {
        let config = ImageConfig::parse(
            br#"{"os":"linux","created":7,"config":{"Cmd":["sh","-c"],"User":"","Labels":{"a":"<b>","n":1}},
                "history":[{"created_by":"RUN x"},{"comment":"y"},{}]}"#,
        );
        let expected = ImageConfig {
            fields: vec![("Operating system", "linux".into()), ("Command", "sh -c".into())],
            labels: vec![("a".into(), "<b>".into())],
            history: vec!["RUN x".into(), "y".into()],
        };
        assert_eq!(config, Some(expected));
        for bad in ["", "[]", "1", "{"] {
            assert_eq!(ImageConfig::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(annotations(br#"{"annotations":{"k":"v"}}"#), [("k".to_owned(), "v".to_owned())]);
        assert!(annotations(b"{").is_empty());
    }
}
