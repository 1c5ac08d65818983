//! Divides the tree into regions with a lock each. Code that makes or removes a folder or a link holds the region's
//! lock until the change is charged, so that a scan of the region neither misses it nor counts it twice.
//!
//! A region is a repository's own folders, a prefix folder of blobs (those that share two hex digits), or the skeleton:
//! everything else.

use std::{
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use parking_lot::{Mutex, MutexGuard};

/// The number of locks; regions share them by hash.
const LOCKS: usize = 64;

/// The identity of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RegionId {
    hash: u64,
    /// Set for the folders of a mirrored repository.
    pub(super) is_mirrored: bool,
}

#[derive(Debug)]
pub(super) struct LockRegions {
    root: PathBuf,
    locks: [Mutex<()>; LOCKS],
    hash: RandomState,
}

impl LockRegions {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), locks: std::array::from_fn(|_| Mutex::new(())), hash: RandomState::new() }
    }

    /// Returns the region of a path.
    pub(super) fn of(&self, path: &Path) -> RegionId {
        match home(path.strip_prefix(&self.root).unwrap_or(path)) {
            Some(home) => RegionId { hash: self.hash.hash_one(&home), is_mirrored: home.starts_with("mirrors") },
            None => self.skeleton(),
        }
    }

    /// Returns the region of all that is in no other.
    pub(super) fn skeleton(&self) -> RegionId {
        RegionId { hash: 0, is_mirrored: false }
    }

    pub(super) fn lock(&self, region: RegionId) -> MutexGuard<'_, ()> {
        self.locks[slot(region)].lock()
    }

    /// Locks both, always in the same order; only once if they share a lock.
    pub(super) fn lock_two(&self, one: RegionId, other: RegionId) -> [Option<MutexGuard<'_, ()>>; 2] {
        let (first, second) = (slot(one).min(slot(other)), slot(one).max(slot(other)));
        [Some(self.locks[first].lock()), (first != second).then(|| self.locks[second].lock())]
    }
}

fn slot(region: RegionId) -> usize {
    usize::try_from(region.hash % LOCKS as u64).unwrap_or_default()
}

/// Returns the folder that names a path's region, relative to the root.
fn home(path: &Path) -> Option<PathBuf> {
    let names: Vec<&OsStr> = path.iter().collect();
    if names.len() > 5 && names[..4] == ["docker", "registry", "v2", "blobs"] {
        return Some(names[..6].iter().collect());
    }
    let own = names.iter().position(|name| name.as_encoded_bytes().starts_with(b"_"))?;
    Some(names[..own].iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_and_a_shelf_are_parts() {
        let of = |path: &str| home(Path::new(path)).map(|home| home.to_string_lossy().into_owned());
        let prefix_dir = "docker/registry/v2/blobs/sha256/ab";
        for (path, region) in [
            ("docker/registry/v2/blobs/sha256", None),
            (prefix_dir, Some(prefix_dir)),
            ("docker/registry/v2/blobs/sha256/ab/abcd/data", Some(prefix_dir)),
            ("docker/registry/v2/repositories/a/b", None),
            ("docker/registry/v2/repositories/a/b/_layers/sha256", Some("docker/registry/v2/repositories/a/b")),
            ("mirrors/docker.io/repositories/a/_manifests", Some("mirrors/docker.io/repositories/a")),
            ("", None),
        ] {
            assert_eq!(of(path).as_deref(), region, "{path}");
        }
    }
}
