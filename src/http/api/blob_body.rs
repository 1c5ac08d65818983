//! Streams blob bodies: turns a reader's slices into the chunks of a response.
//!
//! Large pieces of files are sent by the connection itself, if it sends files. Otherwise they are read, and the size of
//! a read grows with the client's speed, so that hundreds of slow clients hold small buffers, and one fast client gets
//! large reads.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpRequest, HttpResponse, HttpResponseBuilder,
    body::{BodyStream, SizedStream},
    error::ErrorInternalServerError,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use super::multipart::Part;
use crate::{
    http::transport::{
        connection::Connection,
        file_sending::{self, FileSlot, SentFromFiles},
    },
    lanes::{Blocking, Lane, Lanes},
    metrics::LabelledCounter,
    registry::{Blob, ReadSlice, Reader},
    storage::BlobFile,
};

const MIN_CHUNK_BYTES: usize = 16 << 10;
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Fewer bytes of a file are read and sent with what precedes them: a system call of their own would cost more.
const MIN_SENT_FROM_FILE: u64 = 64 << 10;
/// The most bytes of a file that are sent to a fast client before other connections of the thread get their turn.
const MAX_SENT_FROM_FILE: u64 = 1 << 20;
/// As [`MAX_SENT_FROM_FILE`], for other clients.
const MAX_SENT_TO_SLOW_CLIENT: u64 = 256 << 10;
/// The most bytes of a chunk that are passed to actix at a time. actix copies them into the connection's buffer, which
/// never shrinks and should fit in the processor's cache.
const WRITE_BYTES: usize = 128 << 10;
/// A chunk is at most this fraction of the bytes that its client read without a pause: network buffers absorb some
/// hundred KiB at once, and would make every client look fast.
const CHUNK_SHARE: u64 = 16;
/// A client that read a chunk within this time gets a larger one next.
const FAST_READ: Duration = Duration::from_millis(4);
/// A client that took longer than this starts again with small chunks.
const SLOW_READ: Duration = Duration::from_millis(100);

/// Sends these parts of a blob: `length` bytes, or fewer and an aborted connection. The bytes sent are added to
/// `served`.
pub(in crate::http) fn respond(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    blob: Blob,
    mut parts: VecDeque<Part>,
    length: u64,
    served: Option<LabelledCounter>,
    lanes: &Lanes,
) -> HttpResponse {
    if let ([Part::Range(range)], true) = (parts.make_contiguous(), length < MIN_SENT_FROM_FILE)
        && let Some(bytes) = blob.in_memory(*range)
    {
        served.iter().for_each(|served| served.add(length));
        return response.body(bytes);
    }
    let slot = request.conn_data::<Rc<Connection>>().and_then(|connection| connection.files());
    let Some(slot) = slot.filter(|_| length >= MIN_SENT_FROM_FILE) else {
        let chunks = stream::try_unfold(BlobBody::new(blob, parts, served, lanes.clone(), None), BlobBody::next);
        return response.body(SizedStream::new(length, Box::pin(chunks)));
    };
    let sent = SentFromFiles::new(served.clone());
    let files = FileSender { slot: Rc::clone(slot), sent: sent.clone(), unsent: Unsent(length) };
    let chunks = stream::try_unfold(BlobBody::new(blob, parts, served, lanes.clone(), Some(files)), BlobBody::next);
    // The library checks the length of a sized body by its chunks, and what files send is none of them: `BlobBody`
    // does.
    let mut response = response.no_chunking(length).body(BodyStream::new(Box::pin(chunks)));
    response.extensions_mut().insert(sent);
    response
}

/// The sender of the pieces that need not be read.
struct FileSender {
    slot: Rc<FileSlot>,
    sent: SentFromFiles,
    unsent: Unsent,
}

impl FileSender {
    /// Returns the most bytes of a file that are sent at a time. Its pages are looked up in the cache before each
    /// range, and may be dropped while a slow client takes it.
    fn range_bytes(&self) -> u64 {
        if self.slot.is_fast() { MAX_SENT_FROM_FILE } else { MAX_SENT_TO_SLOW_CLIENT }
    }

    /// Sends a range of a file by the connection, from the page cache.
    async fn send(&mut self, lanes: &Lanes, file: Arc<BlobFile>, range: Range<u64>) -> Result<(), Error> {
        if !file.is_cached(range.clone()) {
            let (file, range) = (Arc::clone(&file), range.clone());
            let loaded = lanes.run(Lane::Read, move |io: &Blocking| file.load(io, range)).await;
            loaded.map_err(|_| ErrorInternalServerError("cut"))?.map_err(|error| unreadable(&error))?;
        }
        let length = range.end - range.start;
        file_sending::send(&self.slot, file, range, self.sent.clone()).await.map_err(|error| unreadable(&error))?;
        self.unsent.take(length)
    }
}

/// The bytes of a body that are not sent yet.
struct Unsent(u64);

impl Unsent {
    /// Takes bytes off the rest of the body.
    ///
    /// # Errors
    /// The body has fewer: its client would take the surplus for the next response.
    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| ErrorInternalServerError("too long"))?;
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The whole length was not sent: the response must not look complete.
    fn end(&self) -> Result<(), Error> {
        if self.0 == 0 { Ok(()) } else { Err(ErrorInternalServerError("too short")) }
    }
}

struct BlobBody {
    blob: Blob,
    /// The parts not started yet.
    parts: VecDeque<Part>,
    /// The reader of the current part.
    reader: Option<Reader>,
    served: Option<LabelledCounter>,
    lanes: Lanes,
    /// The size of the next read.
    chunk: usize,
    /// The last chunk read; its memory is reused for the next one.
    read: Bytes,
    /// The rest of it that is not passed to the connection yet.
    rest: Bytes,
    /// Bytes passed to the connection since its client was last slow.
    taken: u64,
    /// The time of the last read.
    read_at: Option<Instant>,
    files: Option<FileSender>,
}

impl BlobBody {
    fn new(
        blob: Blob,
        parts: VecDeque<Part>,
        served: Option<LabelledCounter>,
        lanes: Lanes,
        files: Option<FileSender>,
    ) -> Self {
        Self {
            blob,
            parts,
            reader: None,
            served,
            lanes,
            chunk: MIN_CHUNK_BYTES,
            read: Bytes::new(),
            rest: Bytes::new(),
            taken: 0,
            read_at: None,
            files,
        }
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        if self.rest.is_empty() {
            self.adapt();
            self.rest = self.read().await?;
            self.read_at = Some(Instant::now());
        }
        let piece = self.rest.split_to(self.rest.len().min(WRITE_BYTES));
        if let Some(files) = &mut self.files {
            if piece.is_empty() { files.unsent.end() } else { files.unsent.take(piece.len() as u64) }?;
        }
        self.taken += piece.len() as u64;
        self.served.iter().for_each(|served| served.add(piece.len() as u64));
        Ok((!piece.is_empty()).then_some((piece, self)))
    }

    /// Chooses the next chunk's size by the time that the client took for the last one.
    fn adapt(&mut self) {
        match self.read_at.map(|at| at.elapsed()) {
            Some(took) if took < FAST_READ => self.chunk = (self.chunk * 2).min(MAX_CHUNK_BYTES),
            Some(took) if took > SLOW_READ => self.taken = 0,
            _ => {}
        }
        let earned = usize::try_from(self.taken / CHUNK_SHARE).unwrap_or(MAX_CHUNK_BYTES);
        self.chunk = self.chunk.min(earned).max(MIN_CHUNK_BYTES);
    }

    /// Returns the next bytes; empty at the end.
    async fn read(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(mut reader) = self.reader.take()
                && let Some(bytes) = self.read_on(&mut reader).await?
            {
                self.reader = Some(reader);
                return Ok(bytes);
            }
            match self.parts.pop_front() {
                None => return Ok(Bytes::new()),
                Some(Part::Text(text)) => return Ok(text),
                Some(Part::Range(range)) => self.reader = Some(self.blob.read(range)),
            }
        }
    }

    /// Returns a reader's next bytes, after sending what need not be read; `None` at its end.
    async fn read_on(&mut self, reader: &mut Reader) -> Result<Option<Bytes>, Error> {
        loop {
            match self.next_slice(reader).await? {
                None => return Ok(None),
                Some(ReadSlice::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(ReadSlice::File { file, until }) => {
                    let at = reader.at();
                    if until - at >= MIN_SENT_FROM_FILE
                        && let Some(files) = &mut self.files
                    {
                        let end = until.min(at + files.range_bytes());
                        files.send(&self.lanes, file, at..end).await?;
                        reader.advance(end - at);
                        continue;
                    }
                    let length = usize::try_from(until - at).unwrap_or(usize::MAX).min(self.chunk);
                    let buffer = self.buffer(length);
                    self.read = read(&self.lanes, file, at, length, buffer).await?;
                    reader.advance(length as u64);
                    return Ok(Some(self.read.slice(..length)));
                }
            }
        }
    }

    async fn next_slice(&mut self, reader: &mut Reader) -> Result<Option<ReadSlice>, Error> {
        let slice = reader.next().await.map_err(|error| {
            tracing::warn!(at = reader.at(), %error, "blob response cut off");
            ErrorInternalServerError("cut")
        });
        if slice.is_err() {
            // actix drops unsent data when a body fails; yielding lets it send the head first.
            tokio::task::yield_now().await;
        }
        slice
    }

    /// Returns a buffer of at least `length` bytes. It reuses the last chunk's memory unless its size does not fit.
    /// Zeroing new memory for every chunk took 4 % of the CPU time.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let last = std::mem::take(&mut self.read);
        let fits = (length..=2 * self.chunk).contains(&last.len());
        let reused = fits.then(|| last.try_into_mut().ok()).flatten();
        reused.unwrap_or_else(|| BytesMut::zeroed(length))
    }
}

/// Reads `length` bytes into the start of `buffer`.
async fn read(
    lanes: &Lanes,
    file: Arc<BlobFile>,
    at: u64,
    length: usize,
    mut buffer: BytesMut,
) -> Result<Bytes, Error> {
    let work = move |io: &Blocking| file.read_exact_at(io, &mut buffer[..length], at).map(|()| buffer.freeze());
    match lanes.run(Lane::Read, work).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(ErrorInternalServerError("cut")),
    }
}

fn unreadable(error: &io::Error) -> Error {
    tracing::error!(%error, "stored blob could not be read; the response is cut off");
    ErrorInternalServerError("cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_with_its_last_byte_and_has_no_more() {
        let mut unsent = Unsent(10);
        assert!(unsent.end().is_err(), "nothing was sent");
        assert!(unsent.take(9).is_ok());
        assert!(unsent.end().is_err(), "a byte is missing");
        assert!(unsent.take(2).is_err(), "a byte too many");
        assert!(unsent.take(1).is_ok());
        assert!(unsent.end().is_ok());
    }
}
