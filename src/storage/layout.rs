//! The paths of a volume. This is the layout of `registry:2`, so that an existing volume can be used as it is, and can
//! go back:
//!
//! ```text
//! <root>/docker/registry/v2/
//!   blobs/<algorithm>/<first two hex>/<hex>/data                 shared by everything, content-addressed
//!   repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link
//!   repositories/<name>/_manifests/tags/<tag>/current/link       and tags/<tag>/index/<algorithm>/<hex>/link
//!     in the folder of a revision's link, and in that of a tag   pulled: its last pull, as noted (`pull_notes.rs`)
//!   repositories/<name>/_layers/<algorithm>/<hex>/link
//!   repositories/<name>/_hosted/claim                            the name is this registry's own, and why
//!   repositories/<name>/_uploads/<uuid>/data, startedat          upload sessions: survive a restart
//! <root>/mirrors/<domain>/repositories/<name>/…                  the same shape, for mirrored repositories
//! <root>/staging/                                                 files on their way in; swept at start
//! <root>/quarantine/<algorithm>-<hex>                             damaged bytes of something that was pushed here
//!                                                                 (both on each mount of `docker`: `mount_roots.rs`)
//! <root>/index/v1/                                                sled, disposable
//! <root>/notifications/<endpoint>/                                events that wait for a receiver (`journal.rs`)
//! <root>/uses                                                     last uses of mirrored blobs (`last_uses.rs`)
//! <root>/pins                                                     pins that commands made (`pins.rs`)
//! <root>/pulls                                                    when every pull was noted (`pull_record.rs`)
//! <root>/entrepot.lock                                            held while a process uses the volume
//! <root>/entrepot.sock                                            the admin socket
//! ```
//!
//! A repository's folder never collides with one of its children: names have no component that starts with `_`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, look, walk};
use crate::oci::{Algorithm, Digest, Domain, Repository, Tag};

/// The file of last uses.
pub(super) const LAST_USES: &str = "uses";

/// The file of pins.
pub(super) const PINS: &str = "pins";

/// The file of the time in which pulls were noted.
pub(super) const PULL_RECORD: &str = "pulls";

/// The folder of events.
pub(super) const NOTIFICATIONS: &str = "notifications";

/// The lock file, by which a volume is recognised.
pub(super) const LOCK: &str = "entrepot.lock";

/// The folder of the blobs whose digests share an algorithm and the first two hex digits.
#[derive(Clone, Debug)]
pub(super) struct BlobPrefixDir {
    pub(super) dir: PathBuf,
    algorithm: &'static str,
    /// The two hex digits.
    name: String,
}

impl BlobPrefixDir {
    /// Returns the digests that have a folder here.
    pub(super) fn digests(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        let Self { dir, algorithm, name } = self.clone();
        look::folders(&dir, move |hex| {
            let own = hex.starts_with(&name);
            own.then(|| format!("{algorithm}:{hex}").parse().ok()).flatten()
        })
    }
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

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index/v1")
    }

    /// Returns the existing folders above blobs, each before those in it; the root is the first.
    pub(super) fn parents_of_blobs(&self) -> Result<Vec<PathBuf>, Error> {
        let mut parents = vec![self.root.clone()];
        for name in ["docker", "registry", "v2", "blobs"] {
            parents.push(parents[parents.len() - 1].join(name));
        }
        let blobs = self.hosted().join("blobs");
        parents.extend([Algorithm::Sha256, Algorithm::Sha512].map(|algorithm| blobs.join(algorithm.as_str())));
        for prefix_dir in self.prefix_dirs() {
            parents.push(prefix_dir?.dir);
        }
        Ok(parents)
    }

    /// The state file that `registry:2` leaves on the volume of a pull-through cache.
    pub(super) fn proxy_state(&self) -> PathBuf {
        self.root.join("scheduler-state.json")
    }

    /// The path of that state file after the volume was migrated.
    pub(super) fn adopted_state(&self) -> PathBuf {
        self.root.join("scheduler-state.json.adopted")
    }

    pub(super) fn last_uses(&self) -> PathBuf {
        self.root.join(LAST_USES)
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.root.join(PINS)
    }

    pub(super) fn pull_record(&self) -> PathBuf {
        self.root.join(PULL_RECORD)
    }

    pub(super) fn notifications(&self) -> PathBuf {
        self.root.join(NOTIFICATIONS)
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
        self.repositories_of(repository.domain.as_ref()).join(repository.name.as_str())
    }

    /// Returns the folder of all repositories of an upstream, or of all hosted ones.
    pub(super) fn repositories_of(&self, domain: Option<&Domain>) -> PathBuf {
        domain.map_or_else(|| self.hosted(), |domain| self.mirrors().join(domain.as_str())).join("repositories")
    }

    /// Returns every repository; the hosted ones come last.
    pub(super) fn repositories(&self) -> impl Iterator<Item = Result<Repository, Error>> + use<> {
        let mirrors = self.mirrors();
        let domains = look::folders(&mirrors, |name| name.parse::<Domain>().ok());
        let mirrored = domains.map(move |domain| domain.map(|domain| (mirrors.join(domain.as_str()), Some(domain))));
        // Collected first, since there are few.
        let homes: Vec<_> = mirrored.chain([Ok((self.hosted(), None))]).collect();
        each(homes.into_iter(), |(home, domain)| {
            let names = walk::names(home.join("repositories"));
            names.map(move |name| name.map(|name| Repository { domain: domain.clone(), name }))
        })
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        each(self.prefix_dirs(), |prefix_dir| prefix_dir.digests())
    }

    /// Returns the blobs whose hashes begin with this byte.
    pub(super) fn blobs_beginning(&self, first: u8) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
        let name = format!("{first:02x}");
        let prefix_dirs = self
            .prefix_dirs()
            .filter(move |prefix_dir| prefix_dir.as_ref().map_or(true, |prefix_dir| prefix_dir.name == name));
        each(prefix_dirs, |prefix_dir| prefix_dir.digests())
    }

    /// Returns the prefix folders of all blobs.
    pub(super) fn prefix_dirs(&self) -> impl Iterator<Item = Result<BlobPrefixDir, Error>> + use<> {
        let home = self.hosted().join("blobs");
        [Algorithm::Sha256, Algorithm::Sha512].into_iter().flat_map(move |algorithm| {
            let (home, algorithm) = (home.join(algorithm.as_str()), algorithm.as_str());
            let names = look::folders(&home, |name| is_prefix_dir(name).then(|| name.to_owned()));
            names.map(move |name| name.map(|name| BlobPrefixDir { dir: home.join(&name), algorithm, name }))
        })
    }

    /// Returns whether the volume has neither pushed nor mirrored content. `false` if that cannot be determined.
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

/// Returns `<home>/<algorithm>/<hex>/link`.
pub(super) fn link(home: &Path, digest: &Digest) -> PathBuf {
    let mut path = home.join(digest.algorithm().as_str());
    path.extend([digest.hex().as_str(), "link"]);
    path
}

/// Returns whether a folder's name is that of a blob prefix: two hex digits.
fn is_prefix_dir(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Flattens what `make` yields for each item, and passes failures of the source on.
fn each<A, B, I>(
    many: impl Iterator<Item = Result<A, Error>>,
    make: impl Fn(A) -> I,
) -> impl Iterator<Item = Result<B, Error>>
where
    I: Iterator<Item = Result<B, Error>>,
{
    many.flat_map(move |one| {
        let (made, failed) = match one {
            Ok(one) => (Some(make(one)), None),
            Err(error) => (None, Some(Err(error))),
        };
        failed.into_iter().chain(made.into_iter().flatten())
    })
}

/// Returns the path of a blob's damaged bytes in the quarantine.
pub(super) fn aside(quarantine: &Path, digest: &Digest) -> PathBuf {
    quarantine.join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
}

/// Returns the blobs whose damaged bytes are in the quarantine.
pub(super) fn set_aside(quarantine: &Path) -> impl Iterator<Item = Result<Digest, Error>> + use<> {
    look::entries(quarantine).filter_map(|entry| {
        entry.map(|entry| entry.file_name().to_str()?.replacen('-', ":", 1).parse().ok()).transpose()
    })
}
