//! Looks at the disk. A look has three answers: there, not there, and not known, which is an error that names the path.
//!
//! Symbolic links are followed. One that leads nowhere hides what should lie behind it, so that is not known either.

use std::{
    fs::{self, DirEntry, File, Metadata},
    io::{self, ErrorKind},
    path::Path,
};

use super::Error;

/// What lies at a path; `None` when nothing does.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    found(path, fs::metadata(path))
}

/// As [`metadata`], of a symbolic link itself.
pub(super) fn symlink_metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    found(path, fs::symlink_metadata(path))
}

/// Whether anything lies at a path.
pub(super) fn is_there(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some())
}

/// Whether a folder lies at a path.
pub(super) fn is_folder(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some_and(|found| found.is_dir()))
}

/// Opens a file for reading; `None` when there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, Error> {
    found(path, File::open(path))
}

/// Everything directly below a folder; nothing when there is no such folder.
pub(super) fn entries(dir: &Path) -> impl Iterator<Item = Result<DirEntry, Error>> + use<> {
    let (read, failed) = match found(dir, fs::read_dir(dir)) {
        Ok(read) => (read, None),
        Err(error) => (None, Some(Err(error))),
    };
    let dir = dir.to_owned();
    let read = read.into_iter().flatten().map(move |entry| entry.map_err(Error::at(&dir)));
    failed.into_iter().chain(read)
}

/// The folders directly below a folder, as `parse` makes them of their names. What `parse` takes for none is not looked at.
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

/// Whether an entry is a folder, or a symbolic link to one.
pub(super) fn is_folder_entry(entry: &DirEntry) -> Result<bool, Error> {
    match kind(entry)? {
        Some(kind) if kind.is_symlink() => is_folder(&entry.path()),
        kind => Ok(kind.is_some_and(|kind| kind.is_dir())),
    }
}

/// What an entry is, without following it; `None` when it went meanwhile.
pub(super) fn kind(entry: &DirEntry) -> Result<Option<fs::FileType>, Error> {
    match entry.file_type() {
        Err(error) if is_absence(&error) => Ok(None),
        kind => kind.map(Some).map_err(Error::at(&entry.path())),
    }
}

/// Tells "not there" from "not known" in what came of a call on a path that follows symbolic links.
pub(super) fn found<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>, Error> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absence(&error) => leads_somewhere(path).map(|()| None),
        Err(error) => Err(Error::at(path)(error)),
    }
}

/// Nothing has that name, or could have it.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

/// # Errors
/// [`Error::Dangling`], when a symbolic link on the way to a path leads nowhere.
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

/// Whether a folder is one of those that it lies in, by its path: a symbolic link may lead back up.
pub(super) fn leads_back(folder: &Path) -> Result<bool, Error> {
    let Some(own) = inode(folder)? else { return Ok(false) };
    for above in folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        if inode(above)? == Some(own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The device and the inode of what lies at a path.
pub(super) fn inode(path: &Path) -> Result<Option<Inode>, Error> {
    Ok(metadata(path)?.as_ref().map(Inode::of))
}

/// Tells a file or folder from every other, whatever path leads to it.
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
