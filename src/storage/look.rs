//! Queries of the disk with three answers: there, not there, and not known, which is an error with the path.
//!
//! Symbolic links are followed. The target of a dangling link is not known, rather than not there.

use std::{
    fs::{self, DirEntry, File, Metadata},
    io::{self, ErrorKind},
    path::Path,
};

use super::Error;

/// Returns the metadata of a path; `None` if nothing is there.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    found(path, fs::metadata(path))
}

/// As [`metadata`], without following a symbolic link.
pub(super) fn symlink_metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    found(path, fs::symlink_metadata(path))
}

/// Returns whether anything is at a path.
pub(super) fn is_there(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some())
}

/// Returns whether a folder is at a path.
pub(super) fn is_folder(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some_and(|found| found.is_dir()))
}

/// Opens a file for reading; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, Error> {
    found(path, File::open(path))
}

/// Returns the entries of a folder; none if there is no such folder.
pub(super) fn entries(dir: &Path) -> impl Iterator<Item = Result<DirEntry, Error>> + use<> {
    let (read, failed) = match found(dir, fs::read_dir(dir)) {
        Ok(read) => (read, None),
        Err(error) => (None, Some(Err(error))),
    };
    let dir = dir.to_owned();
    let read = read.into_iter().flatten().map(move |entry| entry.map_err(Error::at(&dir)));
    failed.into_iter().chain(read)
}

/// Returns the folders directly in a folder, as `parse` returns them. Skips the names for which it returns `None`,
/// without a look at them.
pub(super) fn folders<T, F: Fn(&str) -> Option<T>>(
    dir: &Path,
    parse: F,
) -> impl Iterator<Item = Result<T, Error>> + use<T, F> {
    entries(dir).filter_map(move |entry| {
        entry
            .and_then(|entry| {
                let named = entry.file_name().to_str().and_then(&parse);
                Ok(if named.is_some() && is_folder_entry(&entry)? { named } else { None })
            })
            .transpose()
    })
}

/// Returns whether an entry is a folder, or a symbolic link to one.
pub(super) fn is_folder_entry(entry: &DirEntry) -> Result<bool, Error> {
    match kind(entry)? {
        Some(kind) if kind.is_symlink() => is_folder(&entry.path()),
        kind => Ok(kind.is_some_and(|kind| kind.is_dir())),
    }
}

/// Returns the type of an entry, without following it; `None` if it has been removed.
pub(super) fn kind(entry: &DirEntry) -> Result<Option<fs::FileType>, Error> {
    match entry.file_type() {
        Err(error) if is_absence(&error) => Ok(None),
        kind => kind.map(Some).map_err(Error::at(&entry.path())),
    }
}

/// Separates "not there" from "not known" in the result of a call that follows symbolic links.
pub(super) fn found<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>, Error> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absence(&error) => leads_somewhere(path).map(|()| None),
        Err(error) => Err(Error::at(path)(error)),
    }
}

/// Returns whether the error means that nothing has this name, or could have it.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

/// # Errors
/// [`Error::Dangling`] if a symbolic link on the path has no target.
fn leads_somewhere(path: &Path) -> Result<(), Error> {
    for place in path.ancestors().filter(|place| !place.as_os_str().is_empty()) {
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_symlink() => {
                return match fs::metadata(place) {
                    Err(error) if is_absence(&error) => Err(Error::Dangling(place.to_owned())),
                    followed => followed.map(drop).map_err(Error::at(place)),
                };
            }
            Err(error) if is_absence(&error) => {}
            looked => return looked.map(drop).map_err(Error::at(place)),
        }
    }
    Ok(())
}

/// Returns whether a folder is one of its own ancestors, as a symbolic link may point upwards.
pub(super) fn leads_back(folder: &Path) -> Result<bool, Error> {
    let Some(own) = inode(folder)? else { return Ok(false) };
    for above in folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        if inode(above)? == Some(own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the device and the inode number of a path.
fn inode(path: &Path) -> Result<Option<Inode>, Error> {
    Ok(metadata(path)?.as_ref().map(Inode::of))
}

/// Identifies a file or folder, independently of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(super) fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: found.dev(), number: found.ino() }
    }
}
