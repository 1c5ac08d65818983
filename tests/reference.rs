//! `docs/configuration.md` is generated from the table of keys: this test fails with the page's new text after a change
//! of a key.

use std::{fmt::Write as _, path::Path};

use entrepot::config::{Effect, KEYS, Key, ValueKind};

use crate::support::pages::read;

const PAGE: &str = "docs/configuration.md";

const BEGINNING: &str = "\
# Every key

The keys of a configuration file of `registry:2` (`version: 0.1`), and Entrepot's own, marked *Extension*. A variable sets a key, and
has precedence over the file: `storage.quota` is `REGISTRY_STORAGE_QUOTA`. Lists and sections are written as YAML there:
`REGISTRY_PROXY_HOSTED='[team/**, app]'`. `entrepot config FILE` prints the effective configuration.

A key that is in none of these tables stops the start; the message says where it is, and which key was probably meant.

This page is generated from the program's table of keys, and a test keeps it so.
";

fn page() -> String {
    let mut page = BEGINNING.to_owned();
    for section in sections() {
        let keys = KEYS.iter().filter(|key| top(key) == section && is_used(key));
        let rows: Vec<_> = keys.map(row).collect();
        if !rows.is_empty() {
            write!(page, "\n## {section}\n\n| key | default | expected | |\n|---|---|---|---|\n{}", rows.concat())
                .unwrap();
        }
    }
    let effect = |wanted: fn(&Effect) -> Option<&'static str>| -> String {
        let row = |key: &Key| wanted(&key.effect).map(|why| format!("| `{}` | {} | {why} |\n", key.path, key.doc));
        KEYS.iter().filter_map(row).collect()
    };
    let ignored = effect(|effect| if let Effect::NoEffect(why) = effect { Some(why) } else { None });
    let refused = effect(|effect| if let Effect::Refused(why) = effect { Some(why) } else { None });
    write!(page, "\n## Known, and without effect\n\nA warning at the start says so for each that is set, and why.\n\n| key | | why |\n|---|---|---|\n{ignored}").unwrap();
    write!(page, "\n## Refused\n\nThey stop the start, because ignoring them could grant access or misplace data.\n\n| key | | message |\n|---|---|---|\n{refused}").unwrap();
    page
}

/// The first components of keys, each once, in the table's order.
fn sections() -> Vec<&'static str> {
    KEYS.iter().map(top).fold(Vec::new(), |mut names, name| {
        if !names.contains(&name) {
            names.push(name);
        }
        names
    })
}

fn top(key: &Key) -> &'static str {
    key.path.split('.').next().unwrap()
}

fn is_used(key: &&Key) -> bool {
    matches!(key.effect, Effect::Used | Effect::AliasOf(_))
}

fn row(key: &Key) -> String {
    let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
    let expected = if key.kind == ValueKind::Opaque { "a section of keys".to_owned() } else { key.kind.expected() };
    let secret = if key.secret { " Never shown." } else { "" };
    format!("| `{}` | {default} | {expected} | {}{secret} |\n", key.path, key.doc.replace('|', "\\|"))
}

#[test]
fn every_key_is_in_the_page_as_the_table_has_it() {
    let page = page();
    assert!(KEYS.iter().all(|key| page.contains(&format!("| `{}` |", key.path))));
    if read(PAGE) != page {
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/configuration.md");
        std::fs::write(&made, page).unwrap();
        panic!("{PAGE} is not what the table of keys says: look at target/configuration.md, and copy it there");
    }
}

/// The README does not contradict the page's tables: every key of its own table has an effect.
#[test]
fn the_readme_names_keys_that_have_an_effect() {
    for line in read("README.md").lines().filter(|line| line.starts_with("| `")) {
        let first = line.split('`').nth(1).unwrap();
        if first.contains('.') && !first.contains([' ', '/']) {
            assert!(KEYS.iter().any(|key| key.path == first && is_used(&key)), "{first}");
        }
    }
}
