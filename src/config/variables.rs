//! Applies `REGISTRY_A_B_C` environment variables to the parsed file. Names work as in `registry:2`; scalar values are
//! taken literally, not as YAML. Variables that Kubernetes sets for a Service are ignored.

use super::{
    Error, Origin, Warning,
    key::{Effect, Key, ValueKind},
    lookup::{KeyMatch, find, suggest},
    node::{Node, Value},
    yaml,
};

const PREFIX: &str = "REGISTRY_";
/// Names the configuration file if the command line does not, as in `registry:2`. It sets no key.
pub const FILE_VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";

/// Applies the variables to the tree, the shorter names first: `REGISTRY_STORAGE` sets the section in which
/// `REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY` then sets one value.
///
/// # Errors
/// [`Error::Form`] if a variable names a section and does not hold YAML.
pub(super) fn apply(
    root: &mut Node,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Warning>, Error> {
    let mut variables: Vec<Variable> = variables.into_iter().filter_map(Variable::new).collect();
    variables.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.name.cmp(&b.name)));
    let mut warnings = Vec::new();
    for variable in &variables {
        warnings.extend(variable.apply(root)?);
    }
    Ok(warnings)
}

struct Variable {
    name: String,
    text: String,
    /// The words of the name after the prefix, in lower case.
    path: Vec<String>,
}

impl Variable {
    /// Returns `None` for variables that do not set configuration.
    fn new((name, text): (String, String)) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let rest = upper.strip_prefix(PREFIX)?;
        if rest.is_empty() || upper == FILE_VARIABLE || is_from_kubernetes(rest, &text) {
            return None;
        }
        let path = rest.to_ascii_lowercase().split('_').map(str::to_owned).collect();
        Some(Self { text: text.trim().to_owned(), path, name })
    }

    fn apply(&self, root: &mut Node) -> Result<Option<Warning>, Error> {
        let origin = Origin::Variable(self.name.as_str().into());
        match self.target() {
            _ if self.path == ["version"] => Ok(Some(Warning::new(&origin, "only a file's version is read"))),
            KeyMatch::Nothing => Ok(Some(self.unknown(&origin))),
            target => {
                root.set(&self.path, self.value(target, &origin)?);
                root.spell_out();
                Ok(None)
            }
        }
    }

    /// The key or section that the variable sets, or the free-form section that its last words lead into.
    fn target(&self) -> KeyMatch {
        match find(&self.path) {
            KeyMatch::Nothing => {}
            found => return found,
        }
        let into = (1..self.path.len()).rev().map(|end| find(&self.path[..end]));
        into.into_iter()
            .find(|found| matches!(found, KeyMatch::Key(key) if key.kind.is_open()))
            .unwrap_or(KeyMatch::Nothing)
    }

    /// `registry:2` reads every value as YAML. Here a single value is taken literally, so that no password is read as a
    /// number or a comment; quotes around it are removed, since there they were needed. A value that begins as a list
    /// must be one: half of it would be another pattern than was meant.
    fn value(&self, target: KeyMatch, origin: &Origin) -> Result<Node, Error> {
        let plain = || Node { value: Value::Text(self.text.clone()), origin: origin.clone() };
        let node = yaml::variable(origin, &self.text);
        match target {
            KeyMatch::Key(Key { kind: ValueKind::Section, .. }) | KeyMatch::Section | KeyMatch::Nothing => node,
            KeyMatch::Key(key) if key.kind.is_open() => {
                let whole = key.effect == Effect::Used && self.text.starts_with(['[', '{']);
                if whole { node } else { Ok(node.unwrap_or_else(|_| plain())) }
            }
            KeyMatch::Key(_) if self.text.starts_with(['"', '\'']) => Ok(node.unwrap_or_else(|_| plain())),
            KeyMatch::Key(_) => Ok(plain()),
        }
    }

    fn unknown(&self, origin: &Origin) -> Warning {
        let meant = suggest(&self.path.join("."));
        let meant = meant.map(|key| format!("{PREFIX}{}", key.to_uppercase().replace('.', "_")));
        Warning::unknown_variable(origin, &self.path.join("."), meant.as_deref())
    }
}

/// Returns whether this is one of the variables that Kubernetes sets for a Service named `registry` or `registry-*`.
fn is_from_kubernetes(rest: &str, text: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let port = |words: &[&str]| match words {
        ["PORT"] => ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme)),
        ["PORT", n, "TCP" | "UDP" | "SCTP"] | ["PORT", n, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => {
            number(n)
        }
        ["SERVICE", "HOST"] => true,
        ["SERVICE", "PORT", ..] => number(text),
        _ => false,
    };
    (0..words.len()).any(|start| port(&words[start..]))
}
