//! Each test that THREATS.md names exists.

use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tests in the table's last column: `file::function` or `folder::file::function` below `tests/`, `…::function` of
/// the file before, or a file.
fn named() -> Vec<String> {
    let page = fs::read_to_string(root().join("THREATS.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| who |"));
    let cells = rows.map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap().to_owned());
    cells.flat_map(|cell| names(&cell)).collect()
}

/// The names of one cell; a cell may have none.
fn names(cell: &str) -> Vec<String> {
    let (mut names, mut file) = (Vec::new(), String::new());
    for name in cell.split('`').skip(1).step_by(2) {
        match name.rsplit_once("::") {
            Some(("…", function)) => names.push(format!("{file}::{function}")),
            Some((before, _)) => {
                file = before.to_owned();
                names.push(name.to_owned());
            }
            None => names.push(name.to_owned()),
        }
    }
    assert!(!names.is_empty(), "no test in {cell:?}");
    names
}

/// Returns whether a test of that name, or any test in a file of that name, exists.
fn exists(name: &str) -> bool {
    let (file, test) = match name.rsplit_once("::") {
        Some((file, function)) => {
            (format!("tests/{}.rs", file.replace("::", "/")), format!("#[test]\nfn {function}()"))
        }
        // `#[tokio::test]` is one, too.
        None if name.contains('/') => (name.to_owned(), "test]\n".to_owned()),
        None => (format!("tests/{name}"), "test]\n".to_owned()),
    };
    // Unit tests are indented.
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    let text: String = text.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
    text.contains(&test)
}

#[test]
fn what_the_page_of_threats_names_is_there() {
    let named = named();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(
        !exists("limits::nothing_of_the_kind") && !exists("nowhere.rs") && !exists("src/lib.rs"),
        "it would notice"
    );
}
