//! The open file of a blob. Only code that may block can read it.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::fd::BorrowedFd,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{Advice, fadvise, sendfile},
    io::{Errno, ReadWriteFlags, preadv2, retry_on_intr},
};

use super::{Reservation, blocks};
use crate::lanes::Blocking;

/// The distance of samples of the page cache, which takes and gives up files in pieces of about this size.
const SAMPLE_BYTES: usize = 128 << 10;
/// The size of the buffer through which bytes get into the page cache.
const LOAD_BYTES: usize = 128 << 10;

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

    /// Reads the bytes from `offset` on into the start of `buffer`, as far as they are in the page cache. Returns their
    /// number; 0 at the end of the file, and if the disk would have to be waited for.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match preadv2(&self.0, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            // `EOPNOTSUPP`: the filesystem does not support the flag.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(0),
            read => Ok(read?),
        }
    }

    /// Returns whether a range is in the page cache, by samples: pages come and go in larger pieces than these are
    /// apart. The answer may be wrong, and pages may be dropped after it: then [`Self::send`] waits for the disk.
    #[must_use]
    pub fn is_cached(&self, range: Range<u64>) -> bool {
        let last = range.end.saturating_sub(1);
        let mut offsets = range.step_by(SAMPLE_BYTES).chain([last]);
        offsets.all(|offset| self.read_cached(&mut [0], offset).is_ok_and(|read| read > 0))
    }

    /// Reads a range into the page cache.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn load(&self, _io: &Blocking, range: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; LOAD_BYTES];
        let mut at = range.start;
        while at < range.end {
            match self.0.read_at(&mut buffer, at)? {
                0 => break,
                read => at += read as u64,
            }
        }
        Ok(())
    }

    /// Sends up to `count` bytes from `offset` on to a socket that does not block. Returns their number; 0 at the end
    /// of the file. Waits for the disk if they are not [cached](Self::is_cached).
    ///
    /// # Errors
    /// The operating system's error, among them [`io::ErrorKind::WouldBlock`].
    pub fn send(&self, socket: BorrowedFd<'_>, mut offset: u64, count: u64) -> io::Result<usize> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(retry_on_intr(|| sendfile(socket, &self.0, Some(&mut offset), count))?)
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
