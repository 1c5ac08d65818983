//! The entries of a tar file, which may be read in any order.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Seek as _, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::import_progress::ImportProgress;
use crate::{
    lanes::Blocking,
    oci::{Algorithm, Digest},
};

/// The document that lists the images of a layout.
pub(super) const INDEX: &str = "index.json";
const READ_BYTES: usize = 1 << 20;
const BLOCK_BYTES: u64 = 512;
/// The first bytes of compressed files: gzip, zstd, xz, bzip2.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, 0x37, 0x7a], b"BZh"];
/// The most links that lead to one file.
const MAX_LINKS: usize = 8;

/// An open archive.
pub(super) struct Archive {
    file: File,
    entries: HashMap<String, Entry>,
    links: HashMap<String, String>,
    times: Times,
    progress: ImportProgress,
}

/// The times in an archive, in seconds since the epoch; 0 where it has none.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// That of the list of images.
    index: u64,
    newest: u64,
}

/// A file in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    offset: u64,
    pub(super) bytes: u64,
}

/// The reason that an archive is refused, as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidArchive {
    /// It cannot be read, or is no tar.
    #[error("it cannot be read as a tar archive: {0}")]
    Read(#[from] io::Error),
    /// It is compressed.
    #[error("it is compressed: unpack it first, such as by gunzip or zstd -d")]
    Compressed,
    /// It ends within a file.
    #[error("it is truncated: make it anew")]
    Truncated,
    /// A file is missing.
    #[error("it has no {0}: it is truncated, or no archive of images")]
    Missing(String),
    /// It has no images.
    #[error("it has no images")]
    NoImages,
    /// A layer does not match the configuration.
    #[error(
        "{layer} is not what its configuration names, {diff_id}: it is damaged, or compressed by another program than gzip; make it anew"
    )]
    Layer {
        /// Its name.
        layer: String,
        /// The digest of what it has to be unpacked.
        diff_id: Digest,
    },
    /// Bytes do not match their digest.
    #[error("the bytes of {0} do not match it: it is damaged; make it anew")]
    Damaged(Digest),
    /// A document is malformed.
    #[error("{name} in it is malformed: {reason}")]
    Document {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// An image has no name.
    #[error("an image in it has no name: name it with --as")]
    Unnamed,
    /// `--as` names one image.
    #[error("--as names one image, and it has {0}")]
    Several(usize),
}

impl Archive {
    /// Opens a file; `-` is stdin, which is copied to a temporary file without a name.
    ///
    /// # Errors
    /// [`InvalidArchive`] if it is no tar, or ends too early.
    pub(super) fn open(io: &Blocking, path: &Path, progress: &ImportProgress) -> Result<Self, InvalidArchive> {
        let is_stdin = path.as_os_str() == "-";
        let file = if is_stdin { spool(io)? } else { File::open(path)? };
        let mut magic = [0; 4];
        let length = file.read_at(&mut magic, 0)?;
        if COMPRESSED.iter().any(|first| magic[..length].starts_with(first)) {
            return Err(InvalidArchive::Compressed);
        }
        let (entries, links, times) = Default::default();
        let mut archive = Self { file, entries, links, times, progress: progress.clone() };
        archive.list()?;
        Ok(archive)
    }

    fn list(&mut self) -> Result<(), InvalidArchive> {
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Err(InvalidArchive::NoImages);
        }
        let mut end = 0;
        let file = self.file.try_clone()?;
        for entry in tar::Archive::new(file).entries_with_seek()? {
            let entry = entry?;
            let name = normal("", &String::from_utf8_lossy(&entry.path_bytes()));
            let (offset, bytes) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(bytes).is_none_or(|end| end > length) {
                return Err(InvalidArchive::Truncated);
            }
            end = offset + bytes.next_multiple_of(BLOCK_BYTES);
            let time = entry.header().mtime().unwrap_or_default();
            self.times.newest = self.times.newest.max(time);
            if name == INDEX {
                self.times.index = time;
            }
            let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
            match (entry.header().entry_type(), target) {
                (tar::EntryType::Symlink, Some(target)) => {
                    drop(self.links.insert(name.clone(), normal(&name, &target)));
                }
                (tar::EntryType::Link, Some(target)) => drop(self.links.insert(name, normal("", &target))),
                (kind, _) if kind.is_file() => drop(self.entries.insert(name, Entry { offset, bytes })),
                _ => {}
            }
        }
        self.check_end(end)
    }

    /// Checks that the blocks that end an archive follow its last file: one that is cut off before a file lacks them.
    fn check_end(&self, end: u64) -> Result<(), InvalidArchive> {
        let mut block = [1; BLOCK_BYTES as usize];
        match self.file.read_exact_at(&mut block, end) {
            Ok(()) if block.iter().all(|byte| *byte == 0) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Err(InvalidArchive::Truncated),
        }
    }

    /// Returns the time at which the archive was made, in seconds since the epoch; 0 if it is unknown. The file's own
    /// time is that of its last copy.
    pub(super) fn time(&self) -> u64 {
        if self.times.index > 0 { self.times.index } else { self.times.newest }
    }

    /// Returns the bytes of all its files.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.values().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }

    /// Returns whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_ok()
    }

    /// Returns a file, or the one that a link leads to.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if there is none.
    pub(super) fn entry(&self, name: &str) -> Result<Entry, InvalidArchive> {
        let mut at = normal("", name);
        for _ in 0..MAX_LINKS {
            if let Some(entry) = self.entries.get(&at) {
                return Ok(*entry);
            }
            let Some(target) = self.links.get(&at) else { break };
            at.clone_from(target);
        }
        Err(InvalidArchive::Missing(name.to_owned()))
    }

    /// Returns the bytes of a document.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if there is none, [`InvalidArchive::Document`] if it has more than `most` bytes.
    pub(super) fn read(&self, io: &Blocking, name: &str, most: u64) -> Result<Vec<u8>, InvalidArchive> {
        let mut document = Vec::new();
        if self.entry(name)?.bytes > most {
            return Err(InvalidArchive::Document { name: name.to_owned(), reason: "it is too long".to_owned() });
        }
        self.copy(io, name, &mut document)?;
        Ok(document)
    }

    /// Copies the bytes of a file.
    ///
    /// # Errors
    /// [`InvalidArchive::Read`] if either side fails.
    pub(super) fn copy(&self, _io: &Blocking, name: &str, to: &mut dyn Write) -> Result<(), InvalidArchive> {
        let Entry { offset, bytes } = self.entry(name)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut done = 0;
        while done < bytes {
            let length = usize::try_from(bytes - done).unwrap_or(READ_BYTES).min(READ_BYTES);
            self.file.read_exact_at(&mut buffer[..length], offset + done)?;
            to.write_all(&buffer[..length])?;
            done += length as u64;
            self.progress.advance(length as u64);
        }
        Ok(())
    }

    /// Returns the digest of a file's bytes.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if there is none.
    pub(super) fn digest(&self, io: &Blocking, name: &str, algorithm: Algorithm) -> Result<Digest, InvalidArchive> {
        let mut hashing = Hashing(algorithm.hasher());
        self.copy(io, name, &mut hashing)?;
        Ok(hashing.0.finish())
    }

    /// Returns whether a file is compressed with gzip.
    ///
    /// # Errors
    /// [`InvalidArchive::Missing`] if there is none.
    pub(super) fn is_gzip(&self, _io: &Blocking, name: &str) -> Result<bool, InvalidArchive> {
        let (entry, mut magic) = (self.entry(name)?, [0; 2]);
        Ok(entry.bytes > 2 && self.file.read_exact_at(&mut magic, entry.offset).is_ok() && magic == [0x1f, 0x8b])
    }
}

/// Hashes what is written to it.
pub(super) struct Hashing(pub(super) crate::oci::Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies stdin to a temporary file, which goes with its last descriptor.
fn spool(io: &Blocking) -> io::Result<File> {
    let folder = std::env::temp_dir();
    let mut file = match unnamed(io, &folder)? {
        Some(file) => file,
        None => removed(io, &folder)?,
    };
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// The mode of a temporary file: the images may be private, and other users may read the folder.
const PRIVATE: u32 = 0o600;

/// Returns a new file without a name; `None` if the filesystem has no such files.
fn unnamed(_io: &Blocking, folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(PRIVATE)) {
        Ok(file) => Ok(Some(file.into())),
        // Kernels and filesystems without such files take it for the folder itself.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns a new file whose name is removed again.
fn removed(_io: &Blocking, folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("entrepot-import.{}", uuid::Uuid::new_v4()));
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Returns a path without `.` and `..`, relative to the folder of the file `from`.
fn normal(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other users can neither read a temporary file nor find it.
    #[test]
    fn a_temporary_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let (io, folder) = (Blocking::in_test(), tempfile::TempDir::new().unwrap());
        let unnamed = unnamed(io, folder.path()).unwrap();
        for file in unnamed.into_iter().chain([removed(io, folder.path()).unwrap()]) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_lead_to_files() {
        assert_eq!(normal("", "./blobs//sha256/a"), "blobs/sha256/a");
        assert_eq!(normal("one/layer.tar", "../two/layer.tar"), "two/layer.tar");
        assert_eq!(normal("", "../../etc/passwd"), "etc/passwd");
    }
}
