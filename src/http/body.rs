//! Blob bodies: a reader's grants, turned into the chunks a connection sends.
//!
//! A chunk is as large as its client is quick. Five hundred slow clients then hold five hundred small buffers, and one
//! fast client gets large reads.

use std::time::{Duration, Instant};

use actix_web::{Error, HttpResponse, HttpResponseBuilder, body::SizedStream, error::ErrorInternalServerError};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::task::spawn_blocking;

use crate::registry::{Grant, Reader};

const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 1 << 20;
/// A client that has taken a chunk within this time gets a larger one next.
const QUICK: Duration = Duration::from_millis(4);
/// One that took longer than this gets a smaller one.
const SLOW: Duration = Duration::from_millis(40);

/// Sends what `reader` reads: `length` bytes, or fewer and a cut connection.
pub(super) fn respond(mut response: HttpResponseBuilder, reader: Reader, length: u64) -> HttpResponse {
    let body = Body { reader, chunk: SMALLEST, handed_on: None };
    let chunks = stream::try_unfold(body, Body::next);
    response.body(SizedStream::new(length, Box::pin(chunks)))
}

struct Body {
    reader: Reader,
    chunk: usize,
    /// When the chunk before was handed to the connection.
    handed_on: Option<Instant>,
}

impl Body {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        self.adapt();
        let granted = self.reader.next().await.map_err(|error| {
            tracing::warn!("a blob's body is cut at byte {}: {error}", self.reader.at());
            ErrorInternalServerError("cut")
        })?;
        let bytes = match granted {
            None => return Ok(None),
            Some(Grant::Bytes(bytes)) => bytes,
            Some(Grant::File { file, until }) => {
                let at = self.reader.at();
                let length = usize::try_from(until - at).unwrap_or(usize::MAX).min(self.chunk);
                let bytes = read(file, at, length).await?;
                self.reader.advance(bytes.len() as u64);
                bytes
            }
        };
        self.handed_on = Some(Instant::now());
        Ok(Some((bytes, self)))
    }

    /// Chooses the next chunk's size by how long the client took over the last one.
    fn adapt(&mut self) {
        match self.handed_on.map(|at| at.elapsed()) {
            Some(took) if took < QUICK => self.chunk = (self.chunk * 2).min(LARGEST),
            Some(took) if took > SLOW => self.chunk = (self.chunk / 2).max(SMALLEST),
            _ => {}
        }
    }
}

async fn read(file: std::sync::Arc<std::fs::File>, at: u64, length: usize) -> Result<Bytes, Error> {
    use std::os::unix::fs::FileExt;
    let reading = spawn_blocking(move || {
        let mut buffer = BytesMut::zeroed(length);
        file.read_exact_at(&mut buffer, at).map(|()| buffer.freeze())
    });
    match reading.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            tracing::error!("a stored blob cannot be read: {error}");
            Err(ErrorInternalServerError("cut"))
        }
        Err(_) => Err(ErrorInternalServerError("cut")),
    }
}
