//! The structure holds: a floor imports only from the floors below it, a folder only from the folders below it in its
//! module, and the files of a module have no import cycle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::support::source::{Module, imports, modules};

/// The top-level modules by floor, lowest first. A new module is added here.
const FLOORS: [&[&str]; 6] = [
    &["oci"],
    &["config", "descriptors", "lanes", "metrics", "policy"],
    &["access", "index", "simulator", "storage", "upstream"],
    &["registry"],
    &["admin", "http"],
    &["cli"],
];

/// The files and folders of a module that has folders, lowest first. Those on one line do not import each other.
const STOREYS: [(&str, &[&[&str]]); 2] = [
    (
        "http",
        &[
            &["settings"],
            &["context"],
            &["headers"],
            &["errors", "paths"],
            &["transport"],
            &["auth"],
            &["ops"],
            &["api"],
            &["server"],
        ],
    ),
    (
        "registry",
        &[
            &["error", "progress_callback", "retention"],
            &["cache_status", "policy"],
            &["store"],
            &["gc", "space"],
            &["fill"],
            &["state"],
            &["pull", "push"],
            &["maintenance"],
        ],
    ),
];

/// Crates that only one module may use.
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

fn rooms() -> impl Iterator<Item = (usize, &'static str)> {
    FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)))
}

/// The files of a module, with their imports from the same module.
fn within(room: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let all = modules(&source());
    let of_room = |module: &&Module| module.first().is_some_and(|first| first == room);
    // A folder's own file re-exports names; it is not one of the files in the folder.
    let counts = |module: &Module, import: &Module| of_room(&import) && !module.starts_with(import);
    let imported =
        |module: &Module| imports(module, &all).into_iter().filter(|import| counts(module, import)).collect();
    all.keys().filter(of_room).map(|module| (module.clone(), imported(module))).collect()
}

fn shown(module: &[String]) -> String {
    module.join("::")
}

#[test]
fn a_floor_imports_only_from_below() {
    let all = modules(&source());
    let floor_of: BTreeMap<&str, usize> = rooms().map(|(floor, room)| (room, floor)).collect();
    let floor = |module: &Module| module.first().and_then(|room| floor_of.get(room.as_str()));
    let mut wrong = Vec::new();
    for module in all.keys() {
        for import in imports(module, &all) {
            let back_up = floor(&import) >= floor(module) && module.first() != import.first();
            if back_up && floor(module).is_some() && floor(&import).is_some() {
                wrong.push(format!("{} imports {}", shown(module), shown(&import)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_folder_imports_only_from_below() {
    let mut wrong = Vec::new();
    for (room, storeys) in STOREYS {
        let graph = within(room);
        let place = |module: &Module| {
            let part = module.get(1)?;
            let at = storeys.iter().position(|parts| parts.contains(&part.as_str()));
            Some((at.unwrap_or_else(|| panic!("{room}/{part} has no place in STOREYS")), part.clone()))
        };
        for (module, imports) in &graph {
            for import in imports {
                let (Some((from, part)), Some((to, other))) = (place(module), place(import)) else { continue };
                if part != other && to >= from {
                    wrong.push(format!("{} imports {}", shown(module), shown(import)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    for (_, room) in rooms() {
        let graph = within(room);
        if let Some(circle) = circle(&graph) {
            let circle: Vec<_> = circle.iter().map(|module| shown(module)).collect();
            panic!("a circle: {}", circle.join(" -> "));
        }
    }
}

/// The modules of a cycle, from one of them back to it.
fn circle(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut left: BTreeSet<&Module> = graph.keys().collect();
    // A module without remaining imports is in no cycle.
    loop {
        let is_free =
            |module: &&&Module| graph[**module].iter().all(|import| import == **module || !left.contains(import));
        let free: Vec<_> = left.iter().filter(is_free).copied().collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    let mut path = vec![(*left.first()?).clone()];
    loop {
        let last = path.last()?;
        let next = graph[last].iter().find(|import| *import != last && left.contains(import))?.clone();
        if let Some(at) = path.iter().position(|module| *module == next) {
            path.push(next);
            return Some(path.split_off(at));
        }
        path.push(next);
    }
}

#[test]
fn every_room_has_a_floor() {
    let known: BTreeSet<String> = rooms().map(|(_, room)| room.to_owned()).collect();
    let on_disk = modules(&source()).into_keys().filter_map(|module| module.first().cloned());
    assert_eq!(on_disk.filter(|name| name != "main").collect::<BTreeSet<_>>(), known);
}

#[test]
fn some_crates_stay_in_their_room() {
    for (module, file) in modules(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        for (name, home) in KEPT_IN {
            let is_home = module.first().is_some_and(|room| room == home);
            assert!(is_home || !text.contains(&format!("{name}::")), "{} uses {name}", file.display());
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for file in modules(&source()).values() {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
    }
}

/// Each file that the pages name exists, by its name or by the end of its path.
#[test]
fn the_pages_name_files_that_exist() {
    let files: Vec<_> = modules(&source()).into_values().map(|file| file.to_str().unwrap().to_owned()).collect();
    let tests = fs::read_dir(source().with_file_name("tests")).unwrap();
    let files: Vec<_> = tests.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()).chain(files).collect();
    for page in ["ARCHITECTURE.md", "docs/internals.md"] {
        let text = fs::read_to_string(source().with_file_name(page)).unwrap();
        let words = text.split(|c: char| !c.is_alphanumeric() && !"_/.".contains(c));
        let named = words.map(|word| word.trim_matches('.')).filter(|word| word.ends_with(".rs"));
        for name in named {
            assert!(files.iter().any(|file| file.ends_with(&format!("/{name}"))), "{page} names {name}");
        }
    }
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec!["room".to_owned(), name.to_owned()];
    let graph = |arrows: &[(&str, &[&str])]| -> BTreeMap<Module, BTreeSet<Module>> {
        arrows.iter().map(|(from, to)| (module(from), to.iter().map(|to| module(to)).collect())).collect()
    };
    assert_eq!(circle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])), None);
    let found = circle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
    assert_eq!(found, ["b", "c", "b"].map(module));
}
