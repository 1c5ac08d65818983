//! Blob bodies: readers' grants, turned into the pieces a connection sends.
//!
//! What is read at once is as large as its client is quick. Five hundred slow clients then hold five hundred small
//! buffers, and one fast client gets large reads.

use std::{
    collections::VecDeque,
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{Error, HttpResponse, HttpResponseBuilder, body::SizedStream, error::ErrorInternalServerError};
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use super::multipart::Part;
use crate::{
    lanes::{Lane, Lanes},
    metrics::Tally,
    registry::{Blob, ReadSlice, Reader},
};

const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 1 << 20;
/// What of a chunk is handed on at a time. actix copies it into the connection's buffer, which keeps the size of the
/// largest piece it ever held and should stay in the processor's cache.
const PIECE: usize = 128 << 10;
/// A chunk is at most this part of what its client has taken without a pause: buffers on the way swallow some hundred KiB
/// at once, and would make everyone look quick.
const EARNED: u64 = 16;
/// A client that has taken a chunk within this time gets a larger one next.
const QUICK: Duration = Duration::from_millis(4);
/// One that took longer than this begins anew.
const SLOW: Duration = Duration::from_millis(100);

/// Sends these parts of a blob: `length` bytes, or fewer and a cut connection. What goes out is added to `served`.
pub(in crate::http) fn respond(
    mut response: HttpResponseBuilder,
    blob: Blob,
    parts: VecDeque<Part>,
    length: u64,
    served: Option<Tally>,
    lanes: &Lanes,
) -> HttpResponse {
    let chunks = stream::try_unfold(Body::new(blob, parts, served, lanes.clone()), Body::next);
    response.body(SizedStream::new(length, Box::pin(chunks)))
}

struct Body {
    blob: Blob,
    /// What is not begun.
    parts: VecDeque<Part>,
    /// What is being read.
    reader: Option<Reader>,
    served: Option<Tally>,
    lanes: Lanes,
    /// How much to read next.
    chunk: usize,
    /// The chunk read last, whose memory takes the next one.
    read: Bytes,
    /// What of it is not yet handed to the connection.
    rest: Bytes,
    /// Bytes handed to the connection since its client was last slow.
    taken: u64,
    /// When the chunk before was read.
    read_at: Option<Instant>,
}

impl Body {
    fn new(blob: Blob, parts: VecDeque<Part>, served: Option<Tally>, lanes: Lanes) -> Self {
        Self {
            blob,
            parts,
            reader: None,
            served,
            lanes,
            chunk: SMALLEST,
            read: Bytes::new(),
            rest: Bytes::new(),
            taken: 0,
            read_at: None,
        }
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        if self.rest.is_empty() {
            self.adapt();
            self.rest = self.read().await?;
            self.read_at = Some(Instant::now());
        } else {
            // Other requests of this worker come between two pieces: among hundreds of quick clients, a small request would
            // wait for a whole chunk of each.
            tokio::task::yield_now().await;
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.taken += piece.len() as u64;
        self.served.iter().for_each(|served| served.add(piece.len() as u64));
        Ok((!piece.is_empty()).then_some((piece, self)))
    }

    /// Chooses the next chunk's size by how long the client took over the last one.
    fn adapt(&mut self) {
        match self.read_at.map(|at| at.elapsed()) {
            Some(took) if took < QUICK => self.chunk = (self.chunk * 2).min(LARGEST),
            Some(took) if took > SLOW => self.taken = 0,
            _ => {}
        }
        let earned = usize::try_from(self.taken / EARNED).unwrap_or(LARGEST);
        self.chunk = self.chunk.min(earned).max(SMALLEST);
    }

    /// The next bytes; none at the end.
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

    /// A reader's next bytes; `None` at its end.
    async fn read_on(&mut self, reader: &mut Reader) -> Result<Option<Bytes>, Error> {
        let granted = reader.next().await.map_err(|error| {
            tracing::warn!("a blob's body is cut at byte {}: {error}", reader.at());
            ErrorInternalServerError("cut")
        });
        if granted.is_err() {
            // actix drops what it has not sent when a body fails: the head is sent while this waits.
            tokio::task::yield_now().await;
        }
        let granted = granted?;
        match granted {
            None => Ok(None),
            Some(ReadSlice::Bytes(bytes)) => Ok(Some(bytes)),
            Some(ReadSlice::File { file, until }) => {
                let at = reader.at();
                let length = usize::try_from(until - at).unwrap_or(usize::MAX).min(self.chunk);
                let buffer = self.buffer(length);
                self.read = read(&self.lanes, file, at, length, buffer).await?;
                reader.advance(length as u64);
                Ok(Some(self.read.slice(..length)))
            }
        }
    }

    /// At least `length` bytes of memory: those of the last chunk, unless they are too few, or far more than this client
    /// should hold. Zeroing new memory for every chunk was 4 % of the work.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let last = std::mem::take(&mut self.read);
        let fits = (length..=2 * self.chunk).contains(&last.len());
        let reused = fits.then(|| last.try_into_mut().ok()).flatten();
        reused.unwrap_or_else(|| BytesMut::zeroed(length))
    }
}

/// Reads `length` bytes into the start of `buffer`.
async fn read(lanes: &Lanes, file: Arc<File>, at: u64, length: usize, mut buffer: BytesMut) -> Result<Bytes, Error> {
    let work = move || file.read_exact_at(&mut buffer[..length], at).map(|()| buffer.freeze());
    match lanes.run(Lane::Read, work).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            tracing::error!("a stored blob cannot be read: {error}");
            Err(ErrorInternalServerError("cut"))
        }
        Err(_) => Err(ErrorInternalServerError("cut")),
    }
}
