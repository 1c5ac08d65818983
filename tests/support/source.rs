//! The import graph of the source: the modules that each module names, in `use` declarations and in paths.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A module's path below the crate: `["http", "api", "blobs"]`; empty for the crate itself.
pub(crate) type Module = Vec<String>;

/// All modules below `source` with their files, without those of tests.
pub(crate) fn modules(source: &Path) -> BTreeMap<Module, PathBuf> {
    let mut found = BTreeMap::new();
    collect(source, &Vec::new(), &mut found);
    found
}

fn collect(dir: &Path, module: &Module, found: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.ends_with("tests") {
            continue;
        }
        let own = [module.as_slice(), std::slice::from_ref(&name)].concat();
        match name.as_str() {
            _ if path.is_dir() => collect(&path, &own, found),
            // Templates and what else the program includes.
            _ if path.extension().is_none_or(|extension| extension != "rs") => {}
            "mod" | "lib" => drop(found.insert(module.clone(), path)),
            _ => drop(found.insert(own, path)),
        }
    }
}

/// The modules that one names, without itself. A name that a `mod.rs` re-exports counts for the module that defines it.
pub(crate) fn imports(module: &Module, all: &BTreeMap<Module, PathBuf>) -> BTreeSet<Module> {
    let code = code(&all[module]);
    let paths = uses(&code).into_iter().map(|(_, path)| path).chain(inline(&code));
    let resolved = paths.filter_map(|path| resolve(&path, module, all, 0));
    resolved.filter(|import| import != module).collect()
}

/// A file's text without comments and without its module of tests.
pub(crate) fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Each path of each `use`, flattened, and true if it is re-exported.
fn uses(code: &str) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap();
        if !before.trim().is_empty() && !before.trim_start().starts_with("pub") {
            continue;
        }
        let tree = code[at + 4..].split(';').next().unwrap();
        let mut paths = Vec::new();
        flatten(&[], tree, &mut paths);
        found.extend(paths.into_iter().map(|path| (before.contains("pub"), path)));
    }
    found
}

fn flatten(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    for member in members(tree) {
        let (path, group) = member.split_once('{').map_or((member, None), |(path, group)| (path, Some(group)));
        let path = path.split(" as ").next().unwrap();
        let names = path.split("::").map(str::trim).filter(|name| !name.is_empty() && *name != "self");
        let path: Vec<String> = prefix.iter().cloned().chain(names.map(str::to_owned)).collect();
        match group {
            Some(group) => flatten(&path, group.rsplit_once('}').unwrap().0, found),
            None => found.push(path),
        }
    }
}

/// The members of a group, at its outermost level.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&group[from..]);
    found.into_iter().map(str::trim).filter(|member| !member.is_empty()).collect()
}

/// Paths from the crate or a parent module in the code itself.
fn inline(code: &str) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_word(c));
    let paths = words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    paths.map(|path| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()).collect()
}

/// The module that a path leads into.
fn resolve(path: &[String], from: &Module, all: &BTreeMap<Module, PathBuf>, depth: usize) -> Option<Module> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    // An item that a program defines in `main.rs`; the root of a library only re-exports.
    let main = vec!["main".to_owned()];
    if path.first()? == "crate" && all.contains_key(&main) && path.get(1)?.starts_with(char::is_uppercase) {
        return Some(main);
    }
    let absolute: Vec<String> = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "super" => [from.get(..from.len().checked_sub(ups)?)?, &path[ups..]].concat(),
        first if all.contains_key(&[from.as_slice(), &[first.to_owned()]].concat()) => [from.as_slice(), path].concat(),
        _ => return None,
    };
    let length = (0..=absolute.len()).rev().find(|length| all.contains_key(&absolute[..*length]))?;
    let (module, rest) = (absolute[..length].to_vec(), &absolute[length..]);
    match rest.first() {
        Some(name) if depth < 8 => Some(handed_on(name, &module, all, depth).unwrap_or(module)),
        _ => Some(module),
    }
}

/// The module from which a module's `pub use` takes a name.
fn handed_on(name: &str, module: &Module, all: &BTreeMap<Module, PathBuf>, depth: usize) -> Option<Module> {
    let file = all.get(module).filter(|file| file.ends_with("mod.rs"))?;
    let uses = uses(&code(file));
    let (_, path) = uses.iter().find(|(_, path)| path.last().is_some_and(|last| last == name))?;
    resolve(path, module, all, depth + 1)
}
