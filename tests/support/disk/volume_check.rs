//! Checks a volume by reading its files, independent of the server and its code.
//!
//! Invariants of a volume at rest: every tag names a revision that is linked, every link has its bytes, every blob's
//! bytes match its name, a hosted manifest's blobs are all linked and present, there are no other files.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    hash::{hex, sha256, sha512},
    scratch, wait_until,
};

/// A volume in the layout of `registry:2`, with the mirrors beside it.
pub(crate) struct VolumeCheck {
    data: PathBuf,
    /// Blobs that were found right, by inode and time: their files never change.
    right: HashSet<(PathBuf, u64, i64)>,
}

impl VolumeCheck {
    pub(crate) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), right: HashSet::new() }
    }

    fn hosted(&self) -> PathBuf {
        self.data.join("docker/registry/v2")
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.hosted().join("repositories").join(name)
    }

    /// The path of a blob's bytes.
    pub(crate) fn data(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        self.hosted().join("blobs").join(algorithm).join(&hex[..2]).join(hex).join("data")
    }

    /// Returns whether the blob exists; its bytes must match its name.
    pub(crate) fn has_blob(&mut self, digest: &str) -> bool {
        let path = self.data(digest);
        let Ok(found) = path.metadata() else { return false };
        let file = (path, found.ino(), found.mtime_nsec());
        if !self.right.contains(&file) {
            let bytes = fs::read(&file.0).unwrap();
            let is = if digest.starts_with("sha512:") { sha512(&bytes) } else { sha256(&bytes) };
            assert_eq!(is, digest, "a blob is not what its name says");
            self.right.insert(file);
        }
        true
    }

    /// The digest that the tag points to.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        fs::read_to_string(self.repository(repository).join("_manifests/tags").join(tag).join("current/link")).ok()
    }

    pub(crate) fn has_layer(&mut self, repository: &str, digest: &str) -> bool {
        self.is_linked(&self.repository(repository).join("_layers"), digest) && self.has_blob(digest)
    }

    /// Returns whether the manifest and all its references exist.
    pub(crate) fn has_manifest(&mut self, repository: &str, digest: &str) -> bool {
        let revisions = self.repository(repository).join("_manifests/revisions");
        if !self.is_linked(&revisions, digest) || !self.has_blob(digest) {
            return false;
        }
        let manifest: Value = serde_json::from_slice(&fs::read(self.data(digest)).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().into_iter().flatten().chain(manifest.get("config"));
        let layers: Vec<_> = layers.map(|layer| layer["digest"].as_str().unwrap()).collect();
        layers.into_iter().all(|layer| self.has_layer(repository, layer))
    }

    fn is_linked(&self, home: &Path, digest: &str) -> bool {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        let link = home.join(algorithm).join(hex).join("link");
        fs::read_to_string(link).is_ok_and(|text| text == digest)
    }

    /// Checks that all references, hosted and mirrored, exist. A link may be removed during the check: it goes before
    /// its bytes.
    pub(crate) fn is_whole(&mut self) {
        self.blobs_are_right();
        for link in self.links(&self.hosted().join("repositories")) {
            let Link { repository, digest, kind, path } = link;
            let holds = match kind {
                Named::Layer => self.has_layer(&repository, &digest),
                Named::Manifest => self.has_manifest(&repository, &digest),
            };
            assert!(holds || !path.exists(), "{path:?} leads to what is not whole: {digest}");
        }
        for upstream in folders(&self.data.join("mirrors")) {
            let repositories = upstream.join("repositories");
            for Link { repository, digest, kind, path } in self.links(&repositories) {
                let revisions = repositories.join(repository).join("_manifests/revisions");
                let holds = kind == Named::Layer || self.is_linked(&revisions, &digest);
                assert!(holds && self.has_blob(&digest) || !path.exists(), "{path:?} leads nowhere: {digest}");
            }
        }
    }

    /// A blob may be evicted during the check: prefetches go on for a moment after the last client has left.
    fn blobs_are_right(&mut self) {
        let blobs = self.hosted().join("blobs");
        for name in scratch::files(&blobs) {
            let path = blobs.join(&name);
            let parts: Vec<_> = name.iter().map(|part| part.to_str().unwrap()).collect();
            let [algorithm @ ("sha256" | "sha512"), prefix, name, "data"] = parts[..] else {
                panic!("{name:?} is no blob")
            };
            let is_right = self.has_blob(&format!("{algorithm}:{name}"));
            assert!(name.starts_with(prefix) && (is_right || !path.exists()), "{path:?} is wrong");
        }
    }

    /// The links below a `repositories` folder; other files must be upload sessions or marks.
    fn links(&self, repositories: &Path) -> Vec<Link> {
        scratch::files(repositories).into_iter().filter_map(|file| link(repositories, &file)).collect()
    }

    /// Checks that a start has left no staged files of an earlier process. The new process may have some for a moment.
    pub(crate) fn has_no_leftovers(&self) {
        let staging = self.data.join("staging");
        wait_until("no staged file to be left over", Duration::from_secs(5), || scratch::files(&staging).is_empty());
    }

    /// The bytes that the volume occupies, as in `du`: allocated blocks, once for each inode, folders included; and the
    /// number of blobs.
    pub(crate) fn du(&self) -> (u64, u64) {
        let blobs = scratch::files(&self.hosted().join("blobs")).len() as u64;
        (du(&self.data, &mut HashSet::new()), blobs)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Layer,
    Manifest,
}

struct Link {
    repository: String,
    digest: String,
    kind: Named,
    /// The link itself.
    path: PathBuf,
}

/// The target of a file below a `repositories` folder; `None` if it is not followed.
fn link(repositories: &Path, file: &Path) -> Option<Link> {
    let text = file.to_str().unwrap();
    let (repository, kind) = text.split_once("/_").unwrap_or_else(|| panic!("{text} is in no repository"));
    let is_underway = file.file_name().unwrap().to_str().unwrap().starts_with(".link-");
    // Earlier values of a tag are history, as registry:2 writes it: it is not followed, and the manifest may be
    // deleted.
    let is_history = kind.starts_with("manifests/tags/") && kind.contains("/index/");
    // The time of the last pull of what is linked beside it.
    let is_pull_note = kind.starts_with("manifests/") && kind.ends_with("/pulled");
    if is_underway || is_history || is_pull_note || kind.starts_with("uploads/") || kind.starts_with("hosted/") {
        return None;
    }
    let kind = match kind {
        kind if kind.starts_with("layers/") && kind.ends_with("/link") => Named::Layer,
        kind if kind.starts_with("manifests/") && kind.ends_with("/link") => Named::Manifest,
        _ => panic!("{text} is no link"),
    };
    let digest = fs::read_to_string(repositories.join(file)).ok()?;
    assert!(digest.starts_with("sha") && hex(&digest).len() >= 64, "{text} says {digest:?}");
    Some(Link { repository: repository.to_owned(), digest, kind, path: repositories.join(file) })
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}

fn du(path: &Path, seen: &mut HashSet<u64>) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    let own = if seen.insert(found.ino()) { found.blocks() * 512 } else { 0 };
    let below = found.is_dir().then(|| fs::read_dir(path).into_iter().flatten().flatten()).into_iter().flatten();
    own + below.map(|entry| du(&entry.path(), seen)).sum::<u64>()
}
