//! The file of an archive. It has no name until it is whole, so that nothing stays of an export that fails or is killed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat},
    io::Errno,
};

use crate::lanes::Blocking;

const BUFFER_BYTES: usize = 1 << 20;
/// The end of a temporary name.
const PARTIAL: &str = ".partial";

/// An archive that is being written. Dropped before it is published, it is gone.
pub(super) struct ArchiveFile {
    file: BufWriter<File>,
    path: PathBuf,
    state: State,
}

/// The way to the file's name.
enum State {
    /// It is a pipe or a device, which is written to.
    Stream,
    /// It has no name yet.
    Unnamed,
    /// It has a temporary name, since the filesystem has no files without names. If this process is killed, the file stays,
    /// for the next export to write over.
    Temporary(PathBuf),
    Published,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
pub(super) struct UnwritableArchive {
    path: PathBuf,
    source: io::Error,
}

impl ArchiveFile {
    /// Opens what is no regular file, and otherwise creates a file to replace it.
    ///
    /// # Errors
    /// [`UnwritableArchive`] if that fails.
    pub(super) fn create(io: &Blocking, path: &Path) -> Result<Self, UnwritableArchive> {
        let (file, path, state) = open(io, path).map_err(|source| UnwritableArchive { path: path.into(), source })?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), path, state })
    }

    /// Gives the file its name, and replaces a file of that name.
    ///
    /// # Errors
    /// [`UnwritableArchive`] if the disk fails.
    pub(super) fn publish(mut self, io: &Blocking) -> Result<(), UnwritableArchive> {
        self.name(io).map_err(|source| UnwritableArchive { path: self.path.clone(), source })
    }

    #[expect(clippy::disallowed_methods, reason = "the operator's own file, no blob; it goes when its sync fails")]
    fn name(&mut self, io: &Blocking) -> io::Result<()> {
        self.file.flush()?;
        if matches!(self.state, State::Stream) {
            return Ok(());
        }
        self.file.get_ref().sync_all()?;
        if matches!(self.state, State::Unnamed) {
            match link(io, self.file.get_ref(), &self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => return linked.map(|()| self.state = State::Published),
            }
            // A link replaces nothing.
            let temporary = temporary(&self.path)?;
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => link(io, self.file.get_ref(), &temporary)?,
            }
            self.state = State::Temporary(temporary);
        }
        if let State::Temporary(temporary) = &self.state {
            fs::rename(temporary, &self.path)?;
            self.state = State::Published;
        }
        Ok(())
    }
}

fn open(io: &Blocking, path: &Path) -> io::Result<(File, PathBuf, State)> {
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let stream = fs::OpenOptions::new().write(true).open(path)?;
            return Ok((stream, path.into(), State::Stream));
        }
        // A link stays; the file that it leads to is replaced.
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.into(),
        Err(error) => return Err(error),
    };
    let temporary = temporary(&path)?;
    if let Some(file) = unnamed(io, &path)? {
        return Ok((file, path, State::Unnamed));
    }
    let file = open_temporary(io, &temporary)?;
    Ok((file, path, State::Temporary(temporary)))
}

/// Opens an empty file under a temporary name, locked against other exports.
fn open_temporary(io: &Blocking, temporary: &Path) -> io::Result<File> {
    loop {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(temporary)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        if has_name(io, &file, temporary)? {
            file.set_len(0)?;
            return Ok(file);
        }
        // Another export ended after the file was opened: it is that export's archive now, or gone.
    }
}

/// Returns whether a name leads to this open file.
fn has_name(_io: &Blocking, file: &File, name: &Path) -> io::Result<bool> {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    match fs::metadata(name) {
        Ok(found) => Ok(identity(found) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the temporary name beside a name.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let name: OsString = [name, PARTIAL.as_ref()].into_iter().collect();
    Ok(path.with_file_name(name))
}

/// Returns a file without a name that can get this one; `None` if there are no such files here.
fn unnamed(_io: &Blocking, path: &Path) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => {
            let file = File::from(file);
            // It gets its name by way of `/proc`.
            Ok(fs::metadata(in_proc(&file)).is_ok().then_some(file))
        }
        // Kernels and filesystems without such files take it for the folder itself.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file without a name this one.
fn link(_io: &Blocking, file: &File, name: &Path) -> io::Result<()> {
    Ok(linkat(CWD, in_proc(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

fn in_proc(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

impl Write for ArchiveFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for ArchiveFile {
    fn drop(&mut self) {
        if let State::Temporary(temporary) = &self.state {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a filesystem that has no files without names.
    #[test]
    fn a_temporary_name_is_written_over_and_removed() {
        let (io, dir) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let path = dir.path().join("images.tar");
        let partial = dir.path().join("images.tar.partial");
        let begin = || {
            let file = BufWriter::new(open_temporary(io, &partial).unwrap());
            ArchiveFile { file, path: path.clone(), state: State::Temporary(partial.clone()) }
        };
        drop(begin());
        assert!(fs::metadata(&partial).is_err());
        let mut file = begin();
        file.write_all(b"whole").unwrap();
        file.publish(io).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::metadata(&partial).is_err()), (b"whole".to_vec(), true));
    }

    #[test]
    fn two_exports_do_not_write_one_temporary_file() {
        let (io, dir) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let (partial, path) = (dir.path().join("images.tar.partial"), dir.path().join("images.tar"));
        let first = open_temporary(io, &partial).unwrap();
        assert_eq!(open_temporary(io, &partial).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(has_name(io, &first, &partial).unwrap());
        fs::hard_link(&partial, path).and_then(|()| fs::remove_file(&partial)).unwrap();
        assert!(!has_name(io, &first, &partial).unwrap(), "it was published");
        open_temporary(io, &partial).unwrap();
        assert!(!has_name(io, &first, &partial).unwrap(), "another has its name");
    }

    #[test]
    fn a_file_has_no_name_until_it_is_whole() {
        let (io, dir) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let path = dir.path().join("images.tar");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        for text in ["first", "second"] {
            let before = names();
            let mut file = ArchiveFile::create(io, &path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.flush().unwrap();
            assert_eq!(names(), before);
            file.publish(io).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names()), (text, 1));
        }
    }
}
