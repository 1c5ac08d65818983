//! The house stands: a floor imports only from the floors below it, and the rooms of one floor do not import each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rooms by floor, ground floor first. A new room is added here, where its place is seen.
const FLOORS: [&[&str]; 6] = [
    &["oci"],
    &["config", "descriptors", "lanes", "metrics", "policy"],
    &["access", "index", "simulator", "storage", "upstream"],
    &["registry"],
    &["admin", "http"],
    &["cli"],
];

/// Crates that one room alone may use.
const KEPT_IN: [(&str, &str); 6] = [
    ("sled", "index"),
    ("awc", "upstream"),
    ("actix_web", "http"),
    ("bcrypt", "access"),
    ("jsonwebtoken", "access"),
    ("prometheus", "metrics"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A room's files: those of its folder, or the one that it is.
fn room_files(room: &str) -> Vec<PathBuf> {
    let (dir, file) = (source().join(room), source().join(room).with_extension("rs"));
    if dir.is_dir() { files(&dir) } else { vec![file] }
}

fn rooms() -> impl Iterator<Item = (usize, &'static str)> {
    FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)))
}

/// The rooms that a file's text names: `crate::room`, or the members of a `use crate::{…}`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = BTreeSet::new();
    for after in code.join("\n").split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => found.extend(identifier(after)),
            Some(group) => found.extend(members(group)),
        }
    }
    found
}

/// The names at the outermost level of a brace group.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut expects) = (0, Vec::new(), true);
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            symbol if expects && symbol.is_alphabetic() => {
                names.extend(identifier(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn a_floor_imports_only_from_below() {
    let known: BTreeSet<&str> = rooms().map(|(_, room)| room).collect();
    let mut wrong = Vec::new();
    for (floor, room) in rooms() {
        let below: BTreeSet<&str> = FLOORS[..floor].concat().into_iter().collect();
        for file in room_files(room) {
            for import in imports(&fs::read_to_string(&file).unwrap()) {
                let allowed = import == room || below.contains(import.as_str()) || !known.contains(import.as_str());
                if !allowed {
                    wrong.push(format!("{} imports {import}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    let known: BTreeSet<String> = rooms().map(|(_, room)| room.to_owned()).collect();
    let on_disk = fs::read_dir(source()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_stem()?.to_str()?.to_owned();
        (!matches!(name.as_str(), "main" | "lib")).then_some(name)
    });
    assert_eq!(on_disk.collect::<BTreeSet<_>>(), known);
}

#[test]
fn some_crates_stay_in_their_room() {
    for (name, home) in KEPT_IN {
        for (_, room) in rooms().filter(|(_, room)| *room != home) {
            for file in room_files(room) {
                let text = fs::read_to_string(&file).unwrap();
                assert!(!text.contains(&format!("{name}::")), "{} uses {name}", file.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for file in files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
    }
}

#[test]
fn imports_are_read_as_rust_writes_them() {
    let text =
        "use crate::{\n    index::{Index, Link},\n    oci::Digest,\n};\nfn f() { crate::storage::x() }\n// crate::no";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["index", "oci", "storage"]);
}
