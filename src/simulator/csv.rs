//! Traces as CSV: `time,repository,digest,size,kind`, a request a line, in the order of the requests. An access log is
//! read, too (`access_log.rs`).

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, Read, Write},
    time::UNIX_EPOCH,
};

use super::{
    access_log::{self, LoggedPull},
    registry::{TraceRepository, TraceRequest},
    trace::{Id, Object, ObjectKind, Trace},
};
use crate::oci::{Digest, InvalidDigest, RepositoryName};

const HEADER: &str = "time,repository,digest,size,kind";
/// The limit for a line, which in an access log has a path and the client's name.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// The limit for an object's size: a pebibyte.
const MAX_OBJECT_BYTES: u64 = 1 << 50;

/// The reason for which a text is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTrace {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It has no request.
    #[error("there is no request in it; a line is {HEADER}, or one of the access log with a pull of mirrored content")]
    Empty,
    /// A line is wrong.
    #[error("line {line}: {why}")]
    Line {
        /// The line, counted from 1.
        line: u64,
        /// Its fault.
        why: InvalidLine,
    },
}

/// The reason for which a line is not a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLine {
    /// The line has not five columns, or is not text.
    #[error("expected the five columns {HEADER}")]
    Columns,
    /// The time is invalid.
    #[error("time {0:?} is neither seconds since the epoch nor like 2026-01-31T12:00:00Z")]
    Time(String),
    /// The repository is invalid.
    #[error("{0:?} is no repository name")]
    Repository(String),
    /// The digest is invalid.
    #[error("{0:?}: {1}")]
    Digest(String, InvalidDigest),
    /// The size is invalid.
    #[error("size {0:?} is no number of bytes up to 2^50")]
    Size(String),
    /// The kind is invalid.
    #[error("kind {0:?} is none of manifest, config, blob")]
    Kind(String),
    /// Two lines with the same digest differ in size or kind.
    #[error("{0} was a {1} of {2} bytes before, and is a {3} of {4} bytes here")]
    Differs(String, &'static str, u64, &'static str, u64),
    /// There are more objects than 32-bit numbers.
    #[error("more than 2^32 different digests")]
    TooManyObjects,
}

/// Reads a trace; calls `progress` from time to time with the number of lines read.
///
/// # Errors
/// [`InvalidTrace`]: it cannot be read, has no request, or a line is invalid: the first such line.
pub fn read(mut text: impl BufRead, mut progress: impl FnMut(u64)) -> Result<Trace, InvalidTrace> {
    let mut reader = TraceReader::default();
    let (mut buffer, mut line) = (Vec::new(), 0);
    loop {
        buffer.clear();
        if text.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        line += 1;
        if line % (1 << 20) == 0 {
            progress(line);
        }
        let whole = buffer.len() < MAX_LINE_BYTES as usize || buffer.ends_with(b"\n");
        let bytes = if whole { &buffer[..] } else { b"too long" };
        reader.line(bytes, line == 1).map_err(|why| InvalidTrace::Line { line, why })?;
    }
    reader.finish()
}

/// The state while a trace is read.
#[derive(Default)]
struct TraceReader {
    trace: Trace,
    /// Keyed by half of a hash of the digest: whole digests would take most of the memory, and invented digests of an
    /// anonymised log may share halves.
    ids: HashMap<u128, Id>,
    repositories: HashSet<Box<str>>,
    times: Option<(f64, f64)>,
    /// Set by the first line that is not empty.
    is_log: Option<bool>,
}

impl TraceReader {
    fn line(&mut self, bytes: &[u8], first: bool) -> Result<(), InvalidLine> {
        let text = std::str::from_utf8(bytes).map_err(|_| InvalidLine::Columns)?.trim_end();
        if text.is_empty() || (first && text.starts_with("time")) {
            return Ok(());
        }
        if *self.is_log.get_or_insert_with(|| access_log::is_log(text)) {
            return access_log::pull(text).map_or(Ok(()), |pull| self.logged(&pull));
        }
        let mut columns = text.split(',').map(str::trim);
        let mut column = || columns.next().ok_or(InvalidLine::Columns);
        let (at, repository, digest, size, kind) = (column()?, column()?, column()?, column()?, column()?);
        if column().is_ok() {
            return Err(InvalidLine::Columns);
        }
        self.time(time(at)?);
        self.repository(repository)?;
        self.request(digest, Object { size: bytes_of(size)?, kind: kind_of(kind)? })
    }

    /// Adds a pull of an access log, which does not tell configs from layers.
    fn logged(&mut self, pull: &LoggedPull) -> Result<(), InvalidLine> {
        self.time(time(&pull.time)?);
        self.repository(&pull.repository)?;
        self.request(&pull.digest, Object { size: pull.size, kind: kind_of(&pull.kind)? })
    }

    fn time(&mut self, time: f64) {
        let (from, to) = self.times.unwrap_or((time, time));
        self.times = Some((from.min(time), to.max(time)));
    }

    fn repository(&mut self, name: &str) -> Result<(), InvalidLine> {
        if !self.repositories.contains(name) {
            name.parse::<RepositoryName>().map_err(|_| InvalidLine::Repository(name.to_owned()))?;
            self.repositories.insert(name.into());
        }
        Ok(())
    }

    fn request(&mut self, digest: &str, object: Object) -> Result<(), InvalidLine> {
        let parsed: Digest = digest.parse().map_err(|why| InvalidLine::Digest(digest.to_owned(), why))?;
        let hash = Digest::sha256(parsed.as_bytes());
        let half = hash.as_bytes().iter().take(16).fold(0, |half, byte| half << 8 | u128::from(*byte));
        let next = Id::try_from(self.trace.objects.len()).map_err(|_| InvalidLine::TooManyObjects)?;
        let id = *self.ids.entry(half).or_insert(next);
        if id == next {
            self.trace.objects.push(object);
        }
        let known = self.trace.objects[id as usize];
        if known != object {
            let (before, here) = (known.kind.as_str(), object.kind.as_str());
            return Err(InvalidLine::Differs(digest.to_owned(), before, known.size, here, object.size));
        }
        self.trace.requests.push(id);
        Ok(())
    }

    fn finish(self) -> Result<Trace, InvalidTrace> {
        let Self { mut trace, repositories, times, .. } = self;
        let (from, to) = times.ok_or(InvalidTrace::Empty)?;
        trace.repositories = repositories.len();
        trace.seconds = to - from;
        Ok(trace)
    }
}

fn time(text: &str) -> Result<f64, InvalidLine> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    let date = || humantime::parse_rfc3339_weak(text).ok()?.duration_since(UNIX_EPOCH).ok();
    seconds.or_else(|| Some(date()?.as_secs_f64())).ok_or_else(|| InvalidLine::Time(text.to_owned()))
}

fn bytes_of(text: &str) -> Result<u64, InvalidLine> {
    text.parse().ok().filter(|size| *size <= MAX_OBJECT_BYTES).ok_or_else(|| InvalidLine::Size(text.to_owned()))
}

fn kind_of(text: &str) -> Result<ObjectKind, InvalidLine> {
    let kinds = [ObjectKind::Manifest, ObjectKind::Config, ObjectKind::Blob];
    kinds.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| InvalidLine::Kind(text.to_owned()))
}

/// Writes the header line with the columns' names.
pub(super) fn header(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")
}

/// Writes one request of a synthetic trace; its digest is derived from the seed and the object's number.
pub(super) fn line(out: &mut impl Write, seed: u64, request: &TraceRequest, object: &Object) -> io::Result<()> {
    let digest = Digest::sha256(format!("{seed} {}", request.object).as_bytes());
    let (time, size, kind) = (request.time, object.size, object.kind.as_str());
    match request.repository {
        TraceRepository::Image(number) => writeln!(out, "{time:.3},library/image-{number:05},{digest},{size},{kind}"),
        TraceRepository::Builder(number) => writeln!(out, "{time:.3},ci/build-{number:03},{digest},{size},{kind}"),
    }
}
