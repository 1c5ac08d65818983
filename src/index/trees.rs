//! Opens sled's trees. Damage makes sled return an error or *panic* at open and at first reads; both end here.

use std::{
    fs,
    panic::catch_unwind,
    path::Path,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use sled::{Db, Tree};

/// sled's pages take about three times as much memory as its cache counts: it counts their length on disk.
const MEMORY_PER_CACHED_BYTE: u64 = 3;
/// The least that sled can be given, in bytes.
const MIN_CACHE: u64 = 1 << 20;
/// The longest time that a write may be lost to a power cut. A lost entry costs one look at the disk.
const FLUSH_EVERY_MS: u64 = 500;
/// The longest wait for another handle to close the database.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Trees {
    pub(super) meta: Tree,
    pub(super) blobs: Tree,
    pub(super) links: Tree,
    pub(super) tags: Tree,
    pub(super) repositories: Tree,
    pub(super) referrers: Tree,
    pub(super) queue: Tree,
    pub(super) holders: Tree,
    pub(super) parents: Tree,
    pub(super) claims: Tree,
    pub(super) db: Db,
}

/// Removes a file that is in the place of the database, or of the folder above it.
fn remove_files(dir: &Path) {
    let is_file = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.is_file());
    for path in [Some(dir), dir.parent()].into_iter().flatten().filter(is_file) {
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_dir_all(dir);
}

/// Returns whether another handle has the database open. sled reports that by its message only.
fn is_held(why: &str) -> bool {
    why.contains("could not acquire lock")
}

/// Returns whether the disk had no room to open the database, which is intact then.
pub(super) fn is_full(why: &str) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| why.contains(&format!("(os error {})", full.raw_os_error())))
}

impl Trees {
    /// Opens the database of a folder. Its pages take about `memory` bytes.
    pub(super) fn open_or_create(dir: &Path, memory: u64) -> Result<Self, String> {
        Self::open_when_unlocked(dir, memory).or_else(|why| {
            if is_held(&why) || is_full(&why) {
                return Err(why);
            }
            tracing::warn!("the index is begun anew: {why}");
            remove_files(dir);
            Self::open(dir, memory)
        })
    }

    /// Opens the database, waiting for its previous handle: sled's threads may release it a moment after it is dropped.
    fn open_when_unlocked(dir: &Path, memory: u64) -> Result<Self, String> {
        let begun = Instant::now();
        loop {
            match Self::open(dir, memory) {
                Err(why) if is_held(&why) && begun.elapsed() < CLOSE_TIMEOUT => std::thread::sleep(CLOSE_TIMEOUT / 50),
                opened => return opened,
            }
        }
    }

    /// Closes a failed database on a separate thread: its pending writes cannot succeed, and dropping it may panic.
    pub(super) fn close(self) {
        let closing = std::thread::Builder::new().name("index-close".into());
        let closed = closing.spawn(move || catch_unwind(std::panic::AssertUnwindSafe(move || drop(self))));
        let _ = closed.map(std::thread::JoinHandle::join);
    }

    /// Opens and reads on a separate thread, so that a panic inside sled is only an error.
    fn open(dir: &Path, memory: u64) -> Result<Self, String> {
        let dir = dir.to_owned();
        let open = move || catch_unwind(|| Self::try_open(&dir, memory).map_err(|error| error.to_string()));
        let opening = std::thread::Builder::new().name("index-open".into()).spawn(open).map_err(|e| e.to_string())?;
        match opening.join() {
            Ok(Ok(opened)) => opened,
            _ => Err("the database is damaged".into()),
        }
    }

    fn try_open(dir: &Path, memory: u64) -> sled::Result<Self> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        let cache = (memory / MEMORY_PER_CACHED_BYTE).max(MIN_CACHE);
        let config = sled::Config::new().path(dir).cache_capacity(cache).flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = config.open()?;
        let tree = |name: &str| db.open_tree(name);
        let trees = Self {
            meta: tree("meta")?,
            blobs: tree("blobs")?,
            links: tree("links")?,
            tags: tree("tags")?,
            repositories: tree("repositories")?,
            referrers: tree("referrers")?,
            queue: tree("queue")?,
            holders: tree("holders")?,
            parents: tree("parents")?,
            claims: tree("claims")?,
            db: db.clone(),
        };
        // Reads each tree once, so that damage shows here and not in a request.
        trees.all().into_iter().try_for_each(|tree| tree.first().map(drop))?;
        Ok(trees)
    }

    pub(super) fn all(&self) -> [&Tree; 10] {
        let Self { meta, blobs, links, tags, repositories, referrers, queue, holders, parents, claims, .. } = self;
        [meta, blobs, links, tags, repositories, referrers, queue, holders, parents, claims]
    }
}
