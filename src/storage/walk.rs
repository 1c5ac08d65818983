//! The walk of a `repositories` folder. It reads one folder at a time, so that a hundred thousand repositories need no
//! memory.

use std::{
    fs::DirEntry,
    path::{Path, PathBuf},
};

use super::{Error, look};
use crate::oci::RepositoryName;

/// Returns the names of all repositories below `home`. Follows symbolic links as `registry:2` does. A folder that
/// cannot be read yields an error, and the walk goes on with its siblings.
pub(super) fn names(home: PathBuf) -> impl Iterator<Item = Result<RepositoryName, Error>> {
    let mut waiting = vec![String::new()];
    std::iter::from_fn(move || {
        while let Some(here) = waiting.pop() {
            match visit(&home, &here, &mut waiting) {
                Err(error) => return Some(Err(error)),
                Ok(true) => {
                    if let Ok(name) = here.parse() {
                        return Some(Ok(name));
                    }
                }
                Ok(false) => {}
            }
        }
        None
    })
}

/// Adds the folders below `here` to `waiting`; returns whether `here` is a repository itself.
fn visit(home: &Path, here: &str, waiting: &mut Vec<String>) -> Result<bool, Error> {
    let mut is_repository = false;
    let dir = if here.is_empty() { home.to_owned() } else { home.join(here) };
    for entry in look::entries(&dir) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let region = name.starts_with('_');
        let child = if here.is_empty() { name } else { format!("{here}/{name}") };
        // Skips names that no repository can have: "lost+found" may be unreadable.
        if !region && child.parse::<RepositoryName>().is_err() || !look::is_folder_entry(&entry)? {
            continue;
        }
        is_repository |= region;
        if !region && !is_loop(&entry)? {
            waiting.push(child);
        }
    }
    Ok(is_repository)
}

/// Returns whether an entry is a symbolic link to an ancestor of itself.
fn is_loop(entry: &DirEntry) -> Result<bool, Error> {
    let is_link = look::kind(entry)?.is_some_and(|kind| kind.is_symlink());
    if !is_link || !look::leads_back(&entry.path())? {
        return Ok(false);
    }
    tracing::warn!(link = %entry.path().display(), "symbolic link leads to a folder above it; not followed");
    Ok(true)
}
