//! The files that a configuration names for its upstreams, for a configuration that cannot be loaded, too: they may be
//! what is wrong with it.

use std::path::{Path, PathBuf};

use super::{
    Config,
    node::{Node, Value},
    read, variables, yaml,
};
use crate::lanes::Blocking;

/// The keys of such files.
const KEYS: [&str; 2] = ["passwordfile", "ca"];

impl Config {
    /// Returns the files that the section `proxy` names. Otherwise as [`Config::load`]; there are none if the file is
    /// not YAML.
    #[must_use]
    pub fn upstream_files(
        io: &Blocking,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<PathBuf> {
        let tree = |path| read(io, path).and_then(|bytes| yaml::file(path, &bytes));
        let Ok(mut root) = file.map_or_else(|| Ok(Node::empty()), tree) else { return Vec::new() };
        // Those before a wrong variable are there.
        let _ = variables::apply(&mut root, variables);
        let mut files = Vec::new();
        if let Some(proxy) = root.get("proxy") {
            collect(proxy, &mut files);
        }
        files
    }
}

fn collect(node: &Node, files: &mut Vec<PathBuf>) {
    match &node.value {
        Value::Null | Value::Text(_) => {}
        Value::List(items) => items.iter().for_each(|item| collect(item, files)),
        Value::Map(entries) => {
            for (name, node) in entries {
                match &node.value {
                    Value::Text(path) if KEYS.contains(&name.as_str()) && !path.is_empty() => files.push(path.into()),
                    _ => collect(node, files),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn files_are_found_in_a_wrong_configuration() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("config.yml");
        let found = |text: &str, variables: &[(&str, &str)]| {
            std::fs::write(&file, text).unwrap();
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Config::upstream_files(Blocking::in_test(), Some(&file), variables)
        };
        let text = "\
version: 0.1
no: such key
storage: {ca: /x}
proxy:
  passwordfile: /a
  upstreams:
    ghcr.io: {ca: /b, accounts: [{username: ci, passwordfile: /c}]}
";
        assert_eq!(found(text, &[]), ["/a", "/b", "/c"].map(PathBuf::from));
        assert_eq!(found("version: 0.1", &[("REGISTRY_PROXY_PASSWORDFILE", "/d")]), [PathBuf::from("/d")]);
        assert!(found("proxy: [", &[]).is_empty());
    }
}
