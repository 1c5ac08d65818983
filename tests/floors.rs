//! The structure holds: a floor imports only from the floors below it, a folder only from the folders below it in its
//! module, and the files of a module have no import cycle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::support::source::{self, Module, imports, modules};

/// The top-level modules by floor, lowest first. A new module is added here.
const FLOORS: [&[&str]; 6] = [
    &["lanes", "oci", "units", "yaml"],
    &["config", "descriptors", "metrics", "policy"],
    &["access", "index", "simulator", "storage", "upstream"],
    &["notifications", "registry"],
    &["admin", "http"],
    &["cli"],
];

/// The files and folders of a module that has folders, lowest first. Those on one line do not import each other.
const FOLDERS: [(&str, &[&[&str]]); 2] = [
    (
        "http",
        &[
            &["endpoint", "settings"],
            &["context"],
            &["headers"],
            &["errors", "paths"],
            &["transport"],
            &["auth"],
            &["ops"],
            &["api", "manage", "page"],
            &["server"],
        ],
    ),
    (
        "registry",
        &[
            &["activity_recorder", "eviction_rules", "mode", "progress_callback", "timestamp", "unusable_answer"],
            &["error", "last_client"],
            &["ask_error", "cache_status", "policy"],
            &["store"],
            &["gc", "retention", "space"],
            &["usage_snapshots"],
            &["rebuild"],
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

/// The files outside of `storage/` that call the operating system's functions for files. Each such function takes
/// `lanes::Blocking`, but those of the last three: `owner.rs` explains errors, the index has threads of its own, and
/// `/proc` is on no disk.
const CALL_FILES: [&str; 20] = [
    "access/external_token.rs",
    "access/users.rs",
    "admin/socket.rs",
    "cli/client.rs",
    "cli/du.rs",
    "cli/export/archive_file.rs",
    "cli/htpasswd.rs",
    "cli/image_list.rs",
    "cli/import/archive.rs",
    "cli/reload.rs",
    "cli/simulate.rs",
    "cli/upstreams.rs",
    "config/auth.rs",
    "config/mod.rs",
    "config/secret.rs",
    "http/transport/listen.rs",
    "http/transport/tls/files.rs",
    "config/owner.rs",
    "index/",
    "metrics/process.rs",
];

/// The beginnings of calls that block on files.
const FILE_CALLS: [&str; 9] =
    ["fs::", "std::fs", "rustix::fs", "tokio::fs", "File::", "FileExt", "OpenOptions", "try_exists", "canonicalize"];

/// The files that make the permission to block in another way than by a lane, each with its reason in the code.
const PERMIT: [(&str, &str); 4] = [
    ("Blocking::of_main_thread", "main.rs"),
    ("Blocking::inline", "admin/server.rs"),
    ("Blocking::inline", "storage/staged.rs"),
    ("Blocking::inline", "storage/upload_allocation.rs"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The name of each top-level module, with its floor.
fn floors() -> impl Iterator<Item = (usize, &'static str)> {
    FLOORS.iter().enumerate().flat_map(|(floor, names)| names.iter().map(move |name| (floor, *name)))
}

/// The files of a top-level module, with their imports from the same module.
fn within(name: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    graph(&source(), |module| module.first().is_some_and(|first| first == name))
}

/// The chosen modules below a folder, with their imports from each other.
fn graph(folder: &Path, is_chosen: impl Fn(&Module) -> bool) -> BTreeMap<Module, BTreeSet<Module>> {
    let all = modules(folder);
    // A folder's own file re-exports names; it is not one of the files in the folder.
    let counts = |module: &Module, import: &Module| is_chosen(import) && !module.starts_with(import);
    let imported =
        |module: &Module| imports(module, &all).into_iter().filter(|import| counts(module, import)).collect();
    all.keys().filter(|module| is_chosen(module)).map(|module| (module.clone(), imported(module))).collect()
}

fn shown(module: &[String]) -> String {
    module.join("::")
}

#[test]
fn a_floor_imports_only_from_below() {
    let all = modules(&source());
    let floor_of: BTreeMap<&str, usize> = floors().map(|(floor, name)| (name, floor)).collect();
    let floor = |module: &Module| module.first().and_then(|name| floor_of.get(name.as_str()));
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
    for (name, folders) in FOLDERS {
        let graph = within(name);
        let place = |module: &Module| {
            let part = module.get(1)?;
            let at = folders.iter().position(|parts| parts.contains(&part.as_str()));
            Some((at.unwrap_or_else(|| panic!("{name}/{part} has no place in FOLDERS")), part.clone()))
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
fn no_files_of_a_module_import_each_other_in_a_circle() {
    for (_, name) in floors() {
        assert_no_circle(&within(name));
    }
}

#[test]
fn no_files_of_a_benchmark_import_each_other_in_a_circle() {
    for folder in fs::read_dir(source().with_file_name("benches")).unwrap() {
        let mut graph = graph(&folder.unwrap().path(), |_| true);
        // `main.rs` declares the other files.
        let declared = graph.keys().filter(|module| *module != &["main"]).cloned().collect();
        graph.insert(vec!["main".to_owned()], declared);
        assert_no_circle(&graph);
    }
}

fn assert_no_circle(graph: &BTreeMap<Module, BTreeSet<Module>>) {
    let circle: Vec<_> = circle(graph).iter().flatten().map(|module| shown(module)).collect();
    assert!(circle.is_empty(), "a circle: {}", circle.join(" -> "));
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
fn every_module_has_a_floor() {
    let known: BTreeSet<String> = floors().map(|(_, name)| name.to_owned()).collect();
    let on_disk = modules(&source()).into_keys().filter_map(|module| module.first().cloned());
    assert_eq!(on_disk.filter(|name| name != "main").collect::<BTreeSet<_>>(), known);
}

#[test]
fn some_crates_stay_in_their_module() {
    for (module, file) in modules(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        for (name, home) in KEPT_IN {
            let is_home = module.first().is_some_and(|first| first == home);
            assert!(is_home || !text.contains(&format!("{name}::")), "{} uses {name}", file.display());
        }
    }
}

/// The source files by their path below `src`, each with its code.
fn code() -> impl Iterator<Item = (String, String)> {
    modules(&source()).into_values().map(|file| {
        let path = file.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
        (path, source::code(&file))
    })
}

/// Returns whether a path of Rust occurs in a text, not as the end of a longer one.
fn calls(code: &str, path: &str) -> bool {
    let is_part = |before: char| before.is_alphanumeric() || before == '_' || before == ':';
    code.match_indices(path).any(|(at, _)| !code[..at].ends_with(is_part))
}

#[test]
fn files_are_called_where_it_may_block() {
    let may = |path: &str| path.starts_with("storage/") || CALL_FILES.iter().any(|home| path.starts_with(home));
    for (path, code) in code().filter(|(path, _)| !may(path)) {
        for call in FILE_CALLS {
            assert!(!calls(&code, call), "{path} calls {call}, and is not in CALL_FILES");
        }
    }
}

#[test]
fn few_places_permit_to_block() {
    let code: Vec<_> = code().filter(|(path, _)| !path.starts_with("lanes/")).collect();
    let makers = ["Blocking::of_main_thread", "Blocking::inline"];
    let made = code.iter().flat_map(|(path, code)| {
        makers.into_iter().filter(|maker| code.contains(*maker)).map(|maker| (maker, path.as_str()))
    });
    assert_eq!(made.collect::<BTreeSet<_>>(), BTreeSet::from(PERMIT));
    for (path, code) in &code {
        assert!(makers.iter().map(|maker| code.matches(maker).count()).sum::<usize>() <= 1, "{path} makes several");
    }
}

#[test]
fn every_file_has_a_module_doc() {
    for file in modules(&source()).values() {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
    }
}

/// Rustfmt leaves comments as wide as they are.
#[test]
fn comments_are_no_wider_than_code() {
    let folders = ["src", "tests", "benches"].map(|folder| source().with_file_name(folder));
    for file in folders.iter().flat_map(|folder| rust_files(folder)) {
        let text = fs::read_to_string(&file).unwrap();
        let is_wide = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > 120;
        let wide: Vec<_> = text.lines().zip(1..).filter(|(line, _)| is_wide(line)).map(|(_, number)| number).collect();
        assert!(wide.is_empty(), "{} has comments over 120 columns in the lines {wide:?}", file.display());
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.flatten().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
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
    let module = |name: &str| vec!["module".to_owned(), name.to_owned()];
    let graph = |arrows: &[(&str, &[&str])]| -> BTreeMap<Module, BTreeSet<Module>> {
        arrows.iter().map(|(from, to)| (module(from), to.iter().map(|to| module(to)).collect())).collect()
    };
    assert_eq!(circle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])), None);
    let found = circle(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
    assert_eq!(found, ["b", "c", "b"].map(module));
}
