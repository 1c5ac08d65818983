//! The files that the tags of a volume reach, read from the disk alone: the reference for garbage collection.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{hash::hex, scratch};

/// Every file below `docker/registry/v2` that the tags of its repositories need, relative to it.
pub(crate) fn reached(data: &Path) -> BTreeSet<PathBuf> {
    let root = data.join("docker/registry/v2");
    let mut found = BTreeSet::new();
    for file in scratch::files(&root.join("repositories")) {
        let text = file.to_str().unwrap();
        let Some((repository, tag)) = text.split_once("/_manifests/tags/") else { continue };
        let Some(tag) = tag.strip_suffix("/current/link") else { continue };
        let own = Path::new("repositories").join(repository);
        let digest = fs::read_to_string(root.join("repositories").join(&file)).unwrap();
        let tag = own.join("_manifests/tags").join(tag);
        found.insert(tag.join("current/link"));
        found.insert(tag.join("index/sha256").join(hex(&digest)).join("link"));
        manifest(&root, &own, &digest, &mut found);
    }
    found
}

fn manifest(root: &Path, own: &Path, digest: &str, found: &mut BTreeSet<PathBuf>) {
    found.insert(own.join("_manifests/revisions/sha256").join(hex(digest)).join("link"));
    let bytes = fs::read(root.join(data(digest))).unwrap_or_else(|error| panic!("{own:?}: {digest}: {error}"));
    found.insert(data(digest));
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    for child in document["manifests"].as_array().into_iter().flatten() {
        manifest(root, own, child["digest"].as_str().unwrap(), found);
    }
    for blob in document["layers"].as_array().into_iter().flatten().chain(document.get("config")) {
        let digest = blob["digest"].as_str().unwrap();
        found.insert(own.join("_layers/sha256").join(hex(digest)).join("link"));
        found.insert(data(digest));
    }
}

/// The path of a blob, relative to `docker/registry/v2`.
pub(crate) fn data(digest: &str) -> PathBuf {
    Path::new("blobs/sha256").join(&hex(digest)[..2]).join(hex(digest)).join("data")
}

/// The disk has exactly the files that tags reach, and no empty folder of a blob or a link.
pub(crate) fn holds_what_tags_reach(volume: &Path) {
    let root = volume.join("docker/registry/v2");
    // Claims are not reached by tags: they stay without the last tag.
    let is_claim = |file: &PathBuf| file.ends_with("_hosted/claim");
    let reached = reached(volume);
    // The note of a last pull goes with the tag or manifest beside it.
    let is_note = |file: &PathBuf| {
        let beside = |link: &str| reached.contains(&file.with_file_name(link));
        file.ends_with("pulled") && (beside("link") || beside("current/link"))
    };
    let files = scratch::files(&root).into_iter().filter(|file| !is_claim(file) && !is_note(file));
    let on_disk: BTreeSet<_> = files.collect();
    let (more, less): (Vec<_>, Vec<_>) =
        (on_disk.difference(&reached).collect(), reached.difference(&on_disk).collect());
    assert!(more.is_empty() && less.is_empty(), "too much: {more:#?}\nmissing: {less:#?}");
    for folder in folders(&root) {
        let of_a_digest = folder.file_name().is_some_and(|name| name.len() == 64);
        assert!(!of_a_digest || fs::read_dir(&folder).unwrap().next().is_some(), "{folder:?} is empty");
    }
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let below =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    below.flat_map(|path| [vec![path.clone()], folders(&path)].concat()).collect()
}
