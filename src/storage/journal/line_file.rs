//! The files of a journal: lines with a checksum in front, in files that are named by the number of their first line.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::storage::{Error, atomic_fs, look};

/// The hexadecimal digits of a checksum.
const CHECKSUM: usize = 16;
/// A file of lines.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) first: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct LineReader {
    /// The first line of the file.
    pub(super) first: u64,
    /// The number of the next line.
    pub(super) next: u64,
    file: BufReader<File>,
}

impl LineReader {
    pub(super) fn open(dir: &Path, first: u64) -> Result<Self, Error> {
        let path = path(dir, first);
        let file = File::open(&path).map_err(Error::at(&path))?;
        Ok(Self { first, next: first, file: BufReader::new(file) })
    }

    /// Returns the line with this number, which is not before the next one: `None` if the file ends before it, and
    /// `Some(None)` if it is damaged.
    pub(super) fn line(&mut self, dir: &Path, number: u64) -> Result<Option<Option<String>>, Error> {
        loop {
            let mut line = Vec::new();
            let read = self.file.read_until(b'\n', &mut line);
            if read.map_err(Error::at(&path(dir, self.first)))? == 0 {
                return Ok(None);
            }
            self.next += 1;
            if self.next > number {
                return Ok(Some(decoded(&line)));
            }
        }
    }
}

/// Returns a line with its checksum in front.
pub(super) fn encoded(text: &str) -> Vec<u8> {
    debug_assert!(!text.contains('\n'), "one line");
    format!("{} {text}\n", checksum(text.as_bytes())).into_bytes()
}

/// Returns the text of a line; `None` if it is damaged.
pub(super) fn decoded(line: &[u8]) -> Option<String> {
    let (checked, text) = line.strip_suffix(b"\n")?.split_at_checked(CHECKSUM)?;
    let text = std::str::from_utf8(text.strip_prefix(b" ")?).ok()?;
    (checksum(text.as_bytes()).as_bytes() == checked).then(|| text.to_owned())
}

fn checksum(text: &[u8]) -> String {
    let hash = Sha256::digest(text);
    hash.iter().take(CHECKSUM / 2).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.lines"))
}

/// Returns the files of lines, the oldest first.
pub(super) fn files(dir: &Path) -> Result<VecDeque<Lines>, Error> {
    let mut files = Vec::new();
    for entry in look::entries(dir) {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".lines")).and_then(|first| first.parse().ok());
        if let Some(first) = first {
            let bytes = look::metadata(&entry.path())?.map_or(0, |found| found.len());
            files.push(Lines { first, bytes });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files.into())
}

/// Makes the file for the lines from `first` on, unless it is there.
pub(super) fn begin(dir: &Path, first: u64, files: &mut VecDeque<Lines>) -> Result<Arc<File>, Error> {
    let path = path(dir, first);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::at(&path))?;
    atomic_fs::sync_parent(&path)?;
    if files.back().is_none_or(|last| last.first != first) {
        files.push_back(Lines { first, bytes: 0 });
    }
    Ok(Arc::new(file))
}

/// Cuts off what follows the last whole line. Returns the bytes that stay, and the number of the line after them.
pub(super) fn cut_torn_end(path: &Path, first: u64) -> Result<(u64, u64), Error> {
    let cut = || -> io::Result<(u64, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut reader, mut line) = (BufReader::new(&file), Vec::new());
        let (mut at, mut number, mut whole) = (0, first, (0, first));
        while reader.read_until(b'\n', &mut line)? > 0 {
            at += line.len() as u64;
            number += 1;
            if decoded(&line).is_some() {
                whole = (at, number);
            }
            line.clear();
        }
        if at > whole.0 {
            file.set_len(whole.0)?;
        }
        Ok(whole)
    };
    cut().map_err(Error::at(path))
}

pub(super) fn read_cursor(file: &File) -> Option<u64> {
    let mut bytes = [0; 20];
    file.read_exact_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}
