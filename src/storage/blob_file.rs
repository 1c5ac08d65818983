//! The open file of a blob. Only code that may block can read it.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Advice, fadvise};

use super::{Reservation, blocks};
use crate::lanes::Blocking;

/// An open file with bytes of a blob, for reading.
#[derive(Debug)]
pub struct BlobFile(File);

impl BlobFile {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end of the file.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn read_at(&self, _io: &Blocking, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The operating system's error, or [`io::ErrorKind::UnexpectedEof`] if the file is shorter.
    pub fn read_exact_at(&self, _io: &Blocking, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    /// Drops its pages from the page cache, so that the next reads show what the disk has. A failure does not matter.
    pub fn drop_cached_pages(&self, _io: &Blocking) {
        let _ = fadvise(&self.0, 0, None, Advice::DontNeed);
    }
}

/// The metadata that identifies the state of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// The time of the last modification, in nanoseconds since the epoch.
    pub mtime: i64,
    /// The inode's number: another one means another file was put in its place.
    pub inode: u64,
}

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(Self { size: meta.len(), mtime, inode: meta.ino() })
    }
}

/// A published blob, open for reading. Its bytes stay readable even if its name is removed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The open file. Read at explicit offsets only: the descriptor is shared.
    pub file: Arc<BlobFile>,
    /// The state of the file when it was opened.
    pub stamp: FileStamp,
    /// The bytes that it occupies on disk.
    pub allocated: u64,
}

impl Stored {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let stamp = FileStamp::of(&file)?;
        let allocated = blocks::blocks(&file);
        Ok(Self { file: Arc::new(BlobFile::new(file)), stamp, allocated })
    }
}

/// The result of publishing a blob.
#[derive(Debug)]
pub enum Published<N = NewFile> {
    /// The new bytes have the name.
    New(N),
    /// Others were published first, and stay.
    Existing,
}

/// A file that was just published.
#[derive(Debug)]
pub struct NewFile {
    /// The new file.
    pub stored: Stored,
    /// Its reservation, to be dropped after the file is counted.
    pub reservation: Option<Reservation>,
}
