//! Where everything lies. `registry:2`'s own layout, so that an existing volume is adopted as it is and can go back:
//!
//! ```text
//! <root>/docker/registry/v2/
//!   blobs/<algorithm>/<first two hex>/<hex>/data                 shared by everything, content-addressed
//!   repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link
//!   repositories/<name>/_manifests/tags/<tag>/current/link       and tags/<tag>/index/<algorithm>/<hex>/link
//!   repositories/<name>/_layers/<algorithm>/<hex>/link
//!   repositories/<name>/_hosted/claim                            the name is this registry's own, and why
//!   repositories/<name>/_uploads/<uuid>/data, startedat          upload sessions: survive a restart
//! <root>/mirrors/<domain>/repositories/<name>/…                  the same shape, for mirrored repositories
//! <root>/staging/                                                 files on their way in; swept at start
//! <root>/quarantine/<algorithm>-<hex>                             damaged bytes of something that was pushed here
//! <root>/index/v1/                                                sled, disposable
//! <root>/entrepot.lock                                            held while a process uses the volume
//! <root>/entrepot.sock                                            by which commands ask that process
//! ```
//!
//! A repository's folder never collides with one of its children: names have no component that starts with `_`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::oci::{Digest, Domain, Repository, RepositoryName, Tag};

/// What a volume is known by.
pub(super) const LOCK: &str = "entrepot.lock";

/// Blobs whose digests begin alike.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) dir: PathBuf,
    pub(super) algorithm: String,
}

#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index/v1")
    }

    pub(super) fn quarantine(&self, digest: &Digest) -> PathBuf {
        self.root.join("quarantine").join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }

    /// What `registry:2` leaves on the volume of a pull-through cache.
    pub(super) fn proxy_state(&self) -> PathBuf {
        self.root.join("scheduler-state.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.hosted();
        path.extend(["blobs", digest.algorithm().as_str(), &hex[..2], &hex, "data"]);
        path
    }

    pub(super) fn repository(&self, repository: &Repository) -> PathBuf {
        let home = match &repository.domain {
            Some(domain) => self.mirrors().join(domain.as_str()),
            None => self.hosted(),
        };
        home.join("repositories").join(repository.name.as_str())
    }

    pub(super) fn repositories(&self) -> impl Iterator<Item = Repository> + use<> {
        let mirrored = subfolders(&self.mirrors()).filter_map(|name| {
            let domain: Domain = name.parse().ok()?;
            Some((Some(domain), self.mirrors().join(name).join("repositories")))
        });
        let homes: Vec<_> = mirrored.chain([(None, self.hosted().join("repositories"))]).collect();
        homes
            .into_iter()
            .flat_map(|(domain, home)| names(home).map(move |name| Repository { domain: domain.clone(), name }))
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = Digest> + use<> {
        self.shelves().flat_map(|shelf| {
            let algorithm = shelf.algorithm;
            subfolders(&shelf.dir).filter_map(move |hex| format!("{algorithm}:{hex}").parse().ok())
        })
    }

    /// The blobs whose hashes begin with this byte.
    pub(super) fn blobs_beginning(&self, first: u8) -> impl Iterator<Item = Digest> + use<> {
        let name = format!("{first:02x}");
        self.shelves().filter(move |shelf| shelf.dir.ends_with(&name)).flat_map(|shelf| {
            let algorithm = shelf.algorithm;
            subfolders(&shelf.dir).filter_map(move |hex| format!("{algorithm}:{hex}").parse().ok())
        })
    }

    /// The blobs of which damaged bytes are set aside.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = Digest> + use<> {
        let entries = fs::read_dir(self.root.join("quarantine")).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.replacen('-', ":", 1).parse().ok())
    }

    /// The folders of the blobs that share an algorithm and two hex digits.
    pub(super) fn shelves(&self) -> impl Iterator<Item = Shelf> + use<> {
        let home = self.hosted().join("blobs");
        let algorithms = subfolders(&home).map(move |algorithm| (home.join(&algorithm), algorithm));
        algorithms.flat_map(|(home, algorithm)| {
            subfolders(&home).map(move |name| Shelf { dir: home.join(name), algorithm: algorithm.clone() })
        })
    }

    /// Whether there is neither a folder of what was pushed nor one of what was mirrored, for sure.
    pub(super) fn is_new(&self) -> bool {
        let is_missing =
            |dir: &PathBuf| fs::symlink_metadata(dir).is_err_and(|why| why.kind() == io::ErrorKind::NotFound);
        [self.root.join("docker"), self.mirrors()].iter().all(is_missing)
    }

    fn hosted(&self) -> PathBuf {
        self.root.join("docker/registry/v2")
    }

    fn mirrors(&self) -> PathBuf {
        self.root.join("mirrors")
    }
}

pub(super) fn tag(repository: &Path, tag: &Tag) -> PathBuf {
    tags(repository).join(tag.as_str())
}

pub(super) fn tags(repository: &Path) -> PathBuf {
    repository.join("_manifests/tags")
}

pub(super) fn revisions(repository: &Path) -> PathBuf {
    repository.join("_manifests/revisions")
}

pub(super) fn layers(repository: &Path) -> PathBuf {
    repository.join("_layers")
}

pub(super) fn uploads(repository: &Path) -> PathBuf {
    repository.join("_uploads")
}

/// `<algorithm>/<hex>/link` below `home`.
pub(super) fn link(home: &Path, digest: &Digest) -> PathBuf {
    let mut path = home.join(digest.algorithm().as_str());
    path.extend([digest.hex().as_str(), "link"]);
    path
}

/// The folders directly below `dir` whose names are UTF-8; none when it cannot be read.
pub(super) fn subfolders(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).filter_map(|e| e.file_name().into_string().ok())
}

/// Walks a `repositories` folder, a folder at a time, so that a hundred thousand repositories take no memory.
fn names(home: PathBuf) -> impl Iterator<Item = RepositoryName> {
    let mut waiting = vec![String::new()];
    std::iter::from_fn(move || {
        while let Some(here) = waiting.pop() {
            let mut is_repository = false;
            for child in subfolders(&home.join(&here)) {
                if child.starts_with('_') {
                    is_repository = true;
                } else {
                    waiting.push(if here.is_empty() { child } else { format!("{here}/{child}") });
                }
            }
            if let (true, Ok(name)) = (is_repository, here.parse()) {
                return Some(name);
            }
        }
        None
    })
}
