//! The code blocks in a page of Entrepot's documentation, in the form that a reader copies.

use std::path::Path;

/// The blocks with this language, in the page's order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = read(page);
    let (mut found, mut open) = (Vec::new(), None::<(bool, usize, String)>);
    for line in text.lines() {
        open = match (line.trim_start().strip_prefix("```"), open) {
            (Some(named), None) => Some((named == language, line.len() - named.len() - 3, String::new())),
            (Some(_), Some((wanted, _, block))) => {
                found.extend(wanted.then_some(block));
                None
            }
            // A block in a list is indented; its copy is not.
            (None, Some((wanted, indent, block))) => {
                Some((wanted, indent, block + line.get(indent..).unwrap_or("") + "\n"))
            }
            (None, None) => None,
        };
    }
    assert!(open.is_none(), "{page} ends in the middle of a block");
    found
}

/// A file of the project.
pub(crate) fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}
