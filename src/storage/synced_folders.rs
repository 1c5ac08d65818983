//! Remembers which folders' names are on disk, so that a push does not sync them again. Existence does not imply it: an
//! unsynced fill may have made the folder, or a push that has yet to sync it.
//!
//! Folders are removed and made again while others are synced, without a lock over either. A sync whose folder was
//! removed meanwhile may have synced the old one; it is not remembered.

use std::{
    collections::BTreeSet,
    io,
    ops::Bound,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

/// The number of folders that are remembered. A forgotten one is synced once more.
const MAX_FOLDERS: usize = 16 << 10;

/// The folders whose names are on disk, as far as remembered.
#[derive(Debug, Default)]
pub(super) struct SyncedFolders(Mutex<FoldersState>);

#[derive(Debug, Default)]
struct FoldersState {
    /// In the order of paths, where the folders below one follow it.
    known: BTreeSet<PathBuf>,
    removals: Vec<OngoingRemoval>,
    syncs: Vec<OngoingSync>,
    /// The number of the next removal or sync.
    next: u64,
}

/// A removal under way.
#[derive(Debug)]
struct OngoingRemoval {
    number: u64,
    dir: PathBuf,
}

/// A sync under way.
#[derive(Debug)]
struct OngoingSync {
    number: u64,
    /// Folders whose removal overlaps with it in time.
    removed: Vec<PathBuf>,
}

/// A sync of folders that may not be on disk yet. Dropping it remembers nothing.
#[derive(Debug)]
pub(super) struct Syncing<'a> {
    folders: &'a SyncedFolders,
    number: u64,
    unknown: Vec<PathBuf>,
}

impl SyncedFolders {
    /// Begins a sync of those of `folders` that are not known to be on disk.
    pub(super) fn begin<'p>(&self, folders: impl Iterator<Item = &'p Path>) -> Syncing<'_> {
        let mut state = self.0.lock();
        let unknown = folders.filter(|folder| !state.known.contains(*folder)).map(Path::to_owned).collect();
        let removed = state.removals.iter().map(|removal| removal.dir.clone()).collect();
        let number = state.number();
        state.syncs.push(OngoingSync { number, removed });
        Syncing { folders: self, number, unknown }
    }

    /// Runs the removal of a folder with all that is in it, and forgets these folders.
    ///
    /// # Errors
    /// The error of `remove`.
    pub(super) fn removing(&self, dir: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = {
            let mut state = self.0.lock();
            state.forget_below(dir);
            state.begin_removal(dir)
        };
        self.finish(number, remove)
    }

    /// Runs the removal of a folder that fails unless it is empty, and forgets this folder alone.
    ///
    /// # Errors
    /// The error of `remove`.
    pub(super) fn removing_empty(&self, dir: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = self.0.lock().begin_removal(dir);
        self.finish(number, remove)
    }

    fn finish(&self, number: u64, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let removed = remove();
        self.0.lock().removals.retain(|removal| removal.number != number);
        removed
    }
}

impl FoldersState {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn forget_below(&mut self, dir: &Path) {
        let from = (Bound::Included(dir), Bound::Unbounded);
        let below = self.known.range::<Path, _>(from).take_while(|folder| folder.starts_with(dir));
        let below: Vec<_> = below.cloned().collect();
        for folder in below {
            self.known.remove(&folder);
        }
    }

    fn begin_removal(&mut self, dir: &Path) -> u64 {
        self.known.remove(dir);
        for sync in &mut self.syncs {
            sync.removed.push(dir.to_owned());
        }
        let number = self.number();
        self.removals.push(OngoingRemoval { number, dir: dir.to_owned() });
        number
    }

    fn end_sync(&mut self, number: u64) -> Option<OngoingSync> {
        let place = self.syncs.iter().position(|sync| sync.number == number)?;
        Some(self.syncs.swap_remove(place))
    }
}

impl Syncing<'_> {
    /// The folders to sync, the deepest first.
    pub(super) fn unknown(&self) -> &[PathBuf] {
        &self.unknown
    }

    /// Remembers that the folders are on disk now.
    pub(super) fn succeeded(mut self) {
        let unknown = std::mem::take(&mut self.unknown);
        let mut state = self.folders.0.lock();
        let Some(sync) = state.end_sync(self.number) else { return };
        if state.known.len() + unknown.len() > MAX_FOLDERS {
            state.known.clear();
        }
        let stayed = |folder: &PathBuf| !sync.removed.iter().any(|removed| folder.starts_with(removed));
        state.known.extend(unknown.into_iter().filter(stayed));
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.folders.0.lock().end_sync(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(folders: &SyncedFolders, path: &str) -> Vec<PathBuf> {
        folders.begin(Path::new(path).ancestors().take_while(|dir| *dir != Path::new("/"))).unknown().to_owned()
    }

    fn sync(folders: &SyncedFolders, path: &str) {
        folders.begin(Path::new(path).ancestors().take_while(|dir| *dir != Path::new("/"))).succeeded();
    }

    fn remove(folders: &SyncedFolders, path: &str) {
        folders.removing(Path::new(path), || Ok(())).unwrap();
    }

    #[test]
    fn a_removed_folder_is_forgotten_with_what_was_in_it() {
        let folders = SyncedFolders::default();
        ["/a/b/c", "/a/b-c", "/a/b/d"].iter().for_each(|path| sync(&folders, path));
        assert!(unknown(&folders, "/a/b/c").is_empty());
        remove(&folders, "/a/b");
        assert_eq!(unknown(&folders, "/a/b/c"), [Path::new("/a/b/c"), Path::new("/a/b")]);
        assert!(unknown(&folders, "/a/b-c").is_empty());
        let full = || Err(io::ErrorKind::DirectoryNotEmpty.into());
        assert!(folders.removing_empty(Path::new("/a"), full).is_err());
        assert_eq!(unknown(&folders, "/a/b-c"), [Path::new("/a")], "what it holds stays");
    }

    #[test]
    fn a_sync_beside_a_removal_is_not_remembered() {
        let folders = SyncedFolders::default();
        let during = |path: &str| folders.begin([Path::new(path)].into_iter());
        let before = during("/a/b");
        remove(&folders, "/a");
        before.succeeded();
        assert_eq!(unknown(&folders, "/a/b").len(), 2, "the removal came in between");
        let mut inside = None;
        folders
            .removing(Path::new("/a"), || {
                inside = Some(during("/a/b"));
                Ok(())
            })
            .unwrap();
        inside.unwrap().succeeded();
        assert_eq!(unknown(&folders, "/a/b").len(), 2, "the removal was under way");
        sync(&folders, "/a/b");
        assert!(unknown(&folders, "/a/b").is_empty());
    }

    #[test]
    fn what_failed_is_not_remembered_and_leaves_nothing_behind() {
        let folders = SyncedFolders::default();
        drop(folders.begin([Path::new("/a")].into_iter()));
        assert_eq!(unknown(&folders, "/a").len(), 1);
        assert!(folders.removing(Path::new("/a"), || Err(io::Error::other("on purpose"))).is_err());
        sync(&folders, "/a");
        assert!(unknown(&folders, "/a").is_empty());
        let state = folders.0.lock();
        assert!(state.removals.is_empty() && state.syncs.is_empty());
    }
}
