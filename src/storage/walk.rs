//! The walk of a `repositories` folder: every folder that holds a part of a repository, a folder at a time, so that a hundred
//! thousand repositories take no memory.

use std::{
    fs::DirEntry,
    path::{Path, PathBuf},
};

use super::{Error, look};
use crate::oci::RepositoryName;

/// The names of all repositories below `home`, through symbolic links as `registry:2` goes through them. A folder that
/// cannot be read is a failure, after which the walk goes on beside it.
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

/// Notes the folders below `here` that are to be visited; returns whether `here` is a repository itself.
fn visit(home: &Path, here: &str, waiting: &mut Vec<String>) -> Result<bool, Error> {
    let mut is_repository = false;
    let dir = if here.is_empty() { home.to_owned() } else { home.join(here) };
    for entry in look::entries(&dir) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let region = name.starts_with('_');
        let child = if here.is_empty() { name } else { format!("{here}/{name}") };
        // What cannot be a repository's name is nobody's: "lost+found" may not even be read.
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

/// Whether an entry is a symbolic link to a folder that the walk is in already.
fn is_loop(entry: &DirEntry) -> Result<bool, Error> {
    let is_link = look::kind(entry)?.is_some_and(|kind| kind.is_symlink());
    if !is_link || !look::leads_back(&entry.path())? {
        return Ok(false);
    }
    tracing::warn!("{} leads back to a folder above it: nothing is looked for behind it", entry.path().display());
    Ok(true)
}
