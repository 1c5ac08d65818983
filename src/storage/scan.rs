//! The scan of the whole disk, region by region, while requests are served. It corrects the ledger's account of
//! folders, links and sessions, and passes every blob to a callback. A folder with several paths is counted once.

use std::{collections::HashSet, fs::DirEntry, path::Path, time::SystemTime};

use super::{
    Disk, Error,
    accounts::Charge,
    atomic_fs::signed,
    look::{self, Inode},
    usage::{SAMPLED, allocated, allocated_folder, tree},
};
use crate::oci::{Digest, Domain, RepositoryName};

/// The folders that were counted, by their inodes and the times of their creation: a folder that is made during the
/// scan may have the inode number of one that was counted and removed.
#[derive(Default)]
struct CountedFolders(HashSet<(Inode, Option<SystemTime>)>);

impl CountedFolders {
    /// Returns whether a folder was not counted yet, and marks it as counted.
    fn is_new(&mut self, folder: &Path) -> Result<bool, Error> {
        let found = look::metadata(folder)?;
        Ok(found.is_some_and(|found| self.0.insert((Inode::of(&found), found.created().ok()))))
    }
}

impl Disk<'_> {
    /// Scans everything, and calls `prefix_dir` with the blobs of one prefix folder at a time. Returns by how many
    /// bytes the ledger was wrong about folders, links and sessions.
    ///
    /// # Errors
    /// Any variant of [`Error`] if something cannot be read, and the errors of `prefix_dir`. The ledger is unchanged
    /// then.
    pub fn scan<E: From<Error>>(&self, mut prefix_dir: impl FnMut(Vec<Digest>) -> Result<(), E>) -> Result<i64, E> {
        self.ledger.begin_scan();
        let looked = self.look_at_all(&mut prefix_dir);
        looked.map(|()| self.ledger.end_scan()).inspect_err(|_| self.ledger.abandon_scan())
    }

    fn look_at_all<E: From<Error>>(&self, prefix_dir: &mut impl FnMut(Vec<Digest>) -> Result<(), E>) -> Result<(), E> {
        let mut counted = CountedFolders::default();
        for place in self.layout.prefix_dirs() {
            let place = place?;
            let mut blobs = Vec::new();
            self.look_at(&place.dir, |dir| {
                blobs = place.digests().collect::<Result<_, _>>()?;
                let links = if counted.is_new(dir)? { folders(dir)? } else { 0 };
                Ok(Charge { links, sessions: 0 })
            })?;
            prefix_dir(blobs)?;
        }
        for repository in self.layout.repositories() {
            let dir = self.layout.repository(&repository?);
            // Names that begin with an underscore belong to the repository; the others are repositories below it.
            self.look_at(&dir.join("_"), |_| self.repository(&dir, &mut counted))?;
        }
        self.look_at(self.layout.root(), |root| Ok(Charge { links: skeleton(root, 0, &mut counted)?, sessions: 0 }))?;
        Ok(())
    }

    fn look_at(&self, path: &Path, look: impl FnOnce(&Path) -> Result<Charge, Error>) -> Result<(), Error> {
        let region = self.names.regions.of(path);
        let _lock = self.names.regions.lock(region);
        self.ledger.scanned(region, look(path)?);
        Ok(())
    }

    fn repository(&self, dir: &Path, counted: &mut CountedFolders) -> Result<Charge, Error> {
        let mut found = Charge::default();
        for entry in look::entries(dir) {
            let path = entry?.path();
            let Some(own) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with('_')) else {
                continue;
            };
            if look::is_folder(&path)? && !counted.is_new(&path)? {
                continue;
            }
            if own == "_uploads" {
                found += self.sessions(&path)?;
            } else {
                found.links += signed(tree(&path)?);
            }
        }
        Ok(found)
    }

    fn sessions(&self, uploads: &Path) -> Result<Charge, Error> {
        let mut found = Charge { links: signed(allocated_folder(uploads)), sessions: 0 };
        for session in look::entries(uploads) {
            let session = session?.path();
            let data = session.join("data");
            found.links += signed(tree(&session)?) - signed(allocated(&data));
            found.sessions += signed(self.allocations.settled(&data));
        }
        Ok(found)
    }
}

/// Returns the bytes of a prefix folder's folders, without the blobs.
fn folders(prefix_dir: &Path) -> Result<i64, Error> {
    let mut sum = signed(allocated_folder(prefix_dir));
    for entry in look::entries(prefix_dir) {
        let path = entry?.path();
        // A prefix folder on a mount of its own has a staging folder and a quarantine, which are measured apart.
        if !SAMPLED.iter().any(|sampled| path.ends_with(sampled)) {
            sum += signed(allocated(&path));
        }
    }
    Ok(sum)
}

/// Returns the bytes of the skeleton: folders down to repositories and prefix folders, and other files between.
fn skeleton(dir: &Path, depth: usize, counted: &mut CountedFolders) -> Result<i64, Error> {
    if !counted.is_new(dir)? {
        return Ok(0);
    }
    let mut sum = signed(allocated_folder(dir));
    for entry in look::entries(dir) {
        let entry = entry?;
        sum += match below(&entry, depth, counted) {
            // Foreign entries, such as "lost+found", may be unreadable.
            Err(Error::Io { .. } | Error::Dangling(_)) if is_foreign(&entry, depth) => signed(allocated(&entry.path())),
            found => found?,
        };
    }
    Ok(sum)
}

fn below(entry: &DirEntry, depth: usize, counted: &mut CountedFolders) -> Result<i64, Error> {
    let (path, name) = (entry.path(), entry.file_name());
    // The staging folders on other mounts are measured apart.
    let sampled = SAMPLED.iter().any(|sampled| name == *sampled) && is_above_blobs(&path, depth);
    if name.as_encoded_bytes().starts_with(b"_") || sampled || is_prefix_dir(&path) {
        return Ok(0);
    }
    // A symbolic link counts with its own blocks and those of its target.
    let own = if look::kind(entry)?.is_some_and(|kind| kind.is_dir()) { 0 } else { signed(allocated(&path)) };
    Ok(own + if look::is_folder_entry(entry)? { skeleton(&path, depth + 1, counted)? } else { 0 })
}

/// Returns whether files may be staged in the folder of an entry: from the root down to the prefix folders.
fn is_above_blobs(path: &Path, depth: usize) -> bool {
    const ON_THE_WAY: [&str; 6] = [
        "docker",
        "docker/registry",
        "docker/registry/v2",
        "docker/registry/v2/blobs",
        "docker/registry/v2/blobs/sha256",
        "docker/registry/v2/blobs/sha512",
    ];
    depth == 0 || path.parent().is_some_and(|home| ON_THE_WAY.iter().any(|on| home.ends_with(on)))
}

/// Returns whether the entry's name is none that this program uses there.
fn is_foreign(entry: &DirEntry, depth: usize) -> bool {
    match (entry.file_name().to_str(), depth) {
        (None, _) => true,
        (Some(name), 0) => !["docker", "mirrors"].contains(&name),
        (Some(name), _) => name.parse::<RepositoryName>().is_err() && name.parse::<Domain>().is_err(),
    }
}

fn is_prefix_dir(path: &Path) -> bool {
    path.parent().and_then(Path::parent).is_some_and(|blobs| blobs.ends_with("docker/registry/v2/blobs"))
}
