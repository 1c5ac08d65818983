//! The file of an archive: under a temporary name until it is whole.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::lanes::Blocking;

const BUFFER_BYTES: usize = 1 << 20;

/// A file under a temporary name beside its own. Dropped before it is published, it is removed.
pub(super) struct ArchiveFile {
    file: BufWriter<fs::File>,
    temporary: PathBuf,
    path: PathBuf,
    is_published: bool,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
pub(super) struct UnwritableArchive {
    path: PathBuf,
    source: io::Error,
}

impl ArchiveFile {
    /// # Errors
    /// [`UnwritableArchive`] if the file cannot be created.
    pub(super) fn create(_io: &Blocking, path: &Path) -> Result<Self, UnwritableArchive> {
        let unwritable = |source| UnwritableArchive { path: path.into(), source };
        let mut name = path.file_name().ok_or_else(|| unwritable(io::ErrorKind::InvalidInput.into()))?.to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(unwritable)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { file, temporary, path: path.into(), is_published: false })
    }

    /// Gives the file its name, and replaces a file of that name.
    ///
    /// # Errors
    /// [`UnwritableArchive`] if the disk fails.
    #[expect(clippy::disallowed_methods, reason = "the operator's own file, no blob; it goes when its sync fails")]
    pub(super) fn publish(mut self, _io: &Blocking) -> Result<(), UnwritableArchive> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        let published = written.and_then(|()| fs::rename(&self.temporary, &self.path));
        self.is_published = published.is_ok();
        published.map_err(|source| UnwritableArchive { path: self.path.clone(), source })
    }
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
        if !self.is_published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
