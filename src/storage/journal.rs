//! An append-only journal of lines of text, in files of its folder, with a cursor at the first line that was not taken.
//!
//! A file is named by the number of its first line. A line has a checksum in front, so that one that a crash left
//! unfinished is recognised: at the end of the last file it is cut off, elsewhere it is skipped. Each opening begins a
//! new file. A file whose lines are all taken is removed.

mod line_file;

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use line_file::{LineReader, Lines, begin, cut_torn_end, decoded, encoded, files, path, read_cursor};
use parking_lot::Mutex;

use super::{Error, atomic_fs, look};
use crate::lanes::Blocking;

const CURSOR: &str = "cursor";

/// A journal. Its methods may be called from any thread.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// A file of more bytes gets no further lines.
    file_bytes: u64,
    /// False if lines are never synced.
    is_synced: bool,
    state: Mutex<State>,
    synced: Mutex<Synced>,
}

/// The lines whose files were synced.
#[derive(Debug)]
struct Synced {
    /// The lines before this number were synced, or could not be.
    until: u64,
    /// The lines that could not be: the number before the first, and of the last, each counted from 1.
    failed: Vec<(u64, u64)>,
}

/// A line that was read, and not taken yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// Its number, from the beginning of the journal.
    pub number: u64,
    /// Its text.
    pub text: String,
}

#[derive(Debug)]
struct State {
    /// The oldest first; the last one is written to.
    files: VecDeque<Lines>,
    writer: Arc<File>,
    /// The files before the last with lines that are not synced.
    unsynced: Vec<(Arc<File>, PathBuf)>,
    /// The last sync of the file that is written to failed. It gets no more lines, since the kernel reports success for
    /// the next sync.
    is_failed: bool,
    /// The number of the next line to write.
    next: u64,
    /// The number of the first line that was not taken.
    taken: u64,
    cursor: File,
    cursor_path: PathBuf,
    reader: Option<LineReader>,
    read: Option<JournalLine>,
    /// Lines skipped because their checksum is wrong, since the last call of [`Journal::skipped`].
    skipped: u64,
}

impl Journal {
    /// Opens the journal in `dir`, making it if it is missing. `is_synced` is false if its lines need not survive a
    /// power loss, and [`Self::sync`] is never called.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be read or written.
    pub fn open(_io: &Blocking, dir: &Path, file_bytes: u64, is_synced: bool) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::at(dir))?;
        // The names of up to three folders that may be new.
        dir.ancestors().take(3).try_for_each(atomic_fs::sync_parent)?;
        let mut files = files(dir)?;
        let mut next = files.back().map_or(0, |last| last.first);
        if let Some(last) = files.back_mut() {
            (last.bytes, next) = cut_torn_end(&path(dir, last.first), last.first)?;
        }
        let at = dir.join(CURSOR);
        let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&at);
        let cursor = options().map_err(Error::at(&at))?;
        let oldest = files.front().map_or(next, |first| first.first);
        let taken = read_cursor(&cursor).unwrap_or(oldest).max(oldest);
        // Lines that were taken before they were synced may be gone after a power loss; their numbers are not reused.
        next = next.max(taken);
        let writer = begin(dir, next, &mut files)?;
        let mut state = State {
            files,
            writer,
            unsynced: Vec::new(),
            is_failed: false,
            next,
            taken,
            cursor,
            cursor_path: at,
            reader: None,
            read: None,
            skipped: 0,
        };
        state.remove_taken(dir)?;
        let synced = Mutex::new(Synced { until: next, failed: Vec::new() });
        Ok(Self { dir: dir.to_owned(), file_bytes, is_synced, state: Mutex::new(state), synced })
    }

    /// Appends lines; after an error none of them is there. Returns the number of the line after them, up to which
    /// [`Self::sync`] makes them durable.
    ///
    /// # Errors
    /// [`Error::Full`] if the disk is full, [`Error::Io`] if it fails.
    pub fn append(&self, _io: &Blocking, lines: &[String]) -> Result<u64, Error> {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| encoded(line)).collect();
        let mut state = self.state.lock();
        if state.is_failed || state.files.back().is_some_and(|last| last.bytes >= self.file_bytes) {
            let keep = self.is_synced && !state.is_failed;
            state.begin_file(&self.dir, keep)?;
            state.is_failed = false;
        }
        let Some(last) = state.files.back() else { return Ok(state.next) };
        let (at, path) = (last.bytes, path(&self.dir, last.first));
        if let Err(error) = state.writer.write_all_at(&bytes, at) {
            // A part of the line may have been written.
            state.writer.set_len(at).map_err(Error::at(&path))?;
            return Err(Error::at(&path)(error));
        }
        state.next += lines.len() as u64;
        if let Some(last) = state.files.back_mut() {
            last.bytes += bytes.len() as u64;
        }
        Ok(state.next)
    }

    /// Puts the lines before the number `until` on the disk. Callers that wait for each other share a sync.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk fails. Later lines go to another file then.
    pub fn sync(&self, _io: &Blocking, until: u64) -> Result<(), Error> {
        let mut synced = self.synced.lock();
        if synced.until < until {
            let (files, next) = self.state.lock().take_unsynced(&self.dir);
            if let Err(error) = files.iter().try_for_each(|(file, path)| atomic_fs::sync(file, path)) {
                let mut state = self.state.lock();
                // Lines that came meanwhile are in the same file.
                let from = std::mem::replace(&mut synced.until, state.next);
                synced.failed.push((from, state.next));
                state.unsynced.clear();
                state.is_failed = true;
                return Err(error);
            }
            synced.until = next;
        }
        let is_lost = synced.failed.iter().any(|(from, last)| *from < until && until <= *last);
        let error = || io::Error::other("another request's sync of the same file failed");
        if is_lost { Err(Error::unsynced(&self.dir)(error())) } else { Ok(()) }
    }

    /// Returns the first line that was not taken; `None` if all were.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn first(&self, _io: &Blocking) -> Result<Option<JournalLine>, Error> {
        let mut state = self.state.lock();
        if state.read.is_none() {
            state.read = state.read_line(&self.dir)?;
        }
        Ok(state.read.clone())
    }

    /// Returns the last line that is not damaged, also if it was taken; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn last(&self, _io: &Blocking) -> Result<Option<String>, Error> {
        let state = self.state.lock();
        for file in state.files.iter().rev().filter(|file| file.bytes > 0) {
            let path = path(&self.dir, file.first);
            let bytes = fs::read(&path).map_err(Error::at(&path))?;
            let lines = bytes.split_inclusive(|byte| *byte == b'\n').rev();
            if let Some(text) = lines.into_iter().find_map(decoded) {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Marks the line with this number, and all before it, as taken.
    ///
    /// # Errors
    /// Any variant of [`Error`] if the cursor cannot be written.
    pub fn take(&self, _io: &Blocking, number: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.take(number + 1)?;
        state.remove_taken(&self.dir)
    }

    /// Removes the oldest file, and returns how many lines of it were not taken.
    ///
    /// # Errors
    /// Any variant of [`Error`] if it cannot be removed.
    pub fn drop_oldest(&self, _io: &Blocking) -> Result<u64, Error> {
        let mut state = self.state.lock();
        if state.files.len() < 2 {
            state.begin_file(&self.dir, self.is_synced)?;
        }
        let end = state.files.get(1).map_or(state.next, |second| second.first);
        let dropped = end.saturating_sub(state.taken);
        state.take(end)?;
        state.remove_taken(&self.dir)?;
        Ok(dropped)
    }

    /// Returns the number of lines that were not taken.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let state = self.state.lock();
        state.next - state.taken
    }

    /// Returns the bytes of its files of lines.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.lock().files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the number of damaged lines that were skipped since the last call.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        std::mem::take(&mut self.state.lock().skipped)
    }
}

impl State {
    /// Ends the file that is written to, and begins the next. `keep` has the next sync include it.
    fn begin_file(&mut self, dir: &Path, keep: bool) -> Result<(), Error> {
        let Some(last) = self.files.back().filter(|last| last.first != self.next) else { return Ok(()) };
        let ended = path(dir, last.first);
        let writer = begin(dir, self.next, &mut self.files)?;
        let writer = std::mem::replace(&mut self.writer, writer);
        if keep {
            self.unsynced.push((writer, ended));
        }
        Ok(())
    }

    /// Returns the files that have all lines which are not synced, and the number of the line after these.
    fn take_unsynced(&mut self, dir: &Path) -> (Vec<(Arc<File>, PathBuf)>, u64) {
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.files.back().map(|last| (Arc::clone(&self.writer), path(dir, last.first))));
        (files, self.next)
    }

    fn take(&mut self, until: u64) -> Result<(), Error> {
        self.taken = self.taken.max(until);
        if self.read.as_ref().is_some_and(|read| read.number < self.taken) {
            self.read = None;
        }
        let written = self.cursor.write_all_at(format!("{:020}\n", self.taken).as_bytes(), 0);
        // Not synced: a power loss takes it back, and lines are taken twice.
        written.map_err(Error::at(&self.cursor_path))?;
        Ok(())
    }

    /// Removes the files whose lines are all taken, but the one that is written to.
    fn remove_taken(&mut self, dir: &Path) -> Result<(), Error> {
        while self.files.get(1).is_some_and(|second| second.first <= self.taken) {
            let Some(gone) = self.files.front() else { break };
            let gone = path(dir, gone.first);
            look::found(&gone, fs::remove_file(&gone))?;
            self.files.pop_front();
        }
        Ok(())
    }

    fn read_line(&mut self, dir: &Path) -> Result<Option<JournalLine>, Error> {
        while self.taken < self.next {
            let Some(at) = self.files.iter().rposition(|file| file.first <= self.taken) else { return Ok(None) };
            let (first, end) = (self.files[at].first, self.files.get(at + 1).map_or(self.next, |next| next.first));
            let reader = match self.reader.take() {
                Some(reader) if reader.first == first && reader.next <= self.taken => reader,
                _ => LineReader::open(dir, first)?,
            };
            let reader = self.reader.insert(reader);
            match reader.line(dir, self.taken)? {
                Some(Some(text)) => return Ok(Some(JournalLine { number: self.taken, text })),
                Some(None) => {
                    self.skipped += 1;
                    self.take(self.taken + 1)?;
                }
                // Fewer lines than the names of the files say.
                None => {
                    self.skipped += end - self.taken;
                    self.take(end)?;
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
