//! The file of an archive. It has no name until it is whole, so that nothing stays of an export that fails or is
//! killed.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat},
    io::Errno,
};

use crate::lanes::Blocking;

const BUFFER_BYTES: usize = 1 << 20;
/// The end of a temporary name.
const PARTIAL: &str = "partial";
/// The most temporary names that are tried.
const MAX_NAMES: u32 = 1000;

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
    /// It has a temporary name, since the filesystem has no files without names. If this process is killed, the file
    /// stays.
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
            let ((), temporary) = with_new_name(&self.path, |name| link(io, self.file.get_ref(), name))?;
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
    if let Some(file) = unnamed(io, &path)? {
        return Ok((file, path, State::Unnamed));
    }
    let (file, temporary) = create_temporary(io, &path)?;
    Ok((file, path, State::Temporary(temporary)))
}

/// Creates an empty file under a temporary name.
fn create_temporary(_io: &Blocking, path: &Path) -> io::Result<(File, PathBuf)> {
    with_new_name(path, |name| fs::OpenOptions::new().write(true).create_new(true).open(name))
}

/// Calls `create`, which must replace nothing, with temporary names beside a name until one is free. Processes in other
/// containers may have the same id.
fn with_new_name<T>(path: &Path, mut create: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for number in 0..MAX_NAMES {
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}-{number}.{PARTIAL}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        match create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((created?, temporary)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
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

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn begin_temporary(io: &Blocking, path: &Path) -> ArchiveFile {
        let (file, temporary) = create_temporary(io, path).unwrap();
        ArchiveFile { file: BufWriter::new(file), path: path.into(), state: State::Temporary(temporary) }
    }

    /// On a filesystem that has no files without names.
    #[test]
    fn a_temporary_name_is_removed() {
        let (io, dir) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let path = dir.path().join("images.tar");
        let mut abandoned = begin_temporary(io, &path);
        abandoned.write_all(b"half").and_then(|()| abandoned.flush()).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(abandoned);
        assert!(names(dir.path()).is_empty());
        let mut file = begin_temporary(io, &path);
        file.write_all(b"whole").unwrap();
        file.publish(io).unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"whole".to_vec(), vec!["images.tar".to_owned()]));
    }

    /// Neither another export's nor the operator's.
    #[test]
    fn an_export_touches_no_file_but_its_own() {
        let (io, dir) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let path = dir.path().join("images.tar");
        let others = ["images.tar.partial".to_owned(), format!("images.tar.{}-0.{PARTIAL}", std::process::id())];
        for other in &others {
            File::create(dir.path().join(other)).and_then(|mut file| file.write_all(b"other")).unwrap();
        }
        let with_unnamed = |text: &str| {
            let mut file = ArchiveFile::create(io, &path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let (first, second) = (with_unnamed("first"), with_unnamed("second"));
        let mut third = begin_temporary(io, &path);
        third.write_all(b"third").unwrap();
        for (file, text) in [(first, "first"), (second, "second"), (third, "third")] {
            file.publish(io).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        for other in &others {
            assert_eq!(fs::read_to_string(dir.path().join(other)).unwrap(), "other");
        }
        assert_eq!(names(dir.path()).len(), 3);
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
