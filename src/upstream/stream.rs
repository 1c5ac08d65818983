//! The stream of an upstream connection, plain or TLS, which notes whether the peer closed it.
//!
//! `awc` reports a body that a FIN cut short as complete. Here the end of the stream is noted as it is read, so that
//! the body's reader can tell the difference. A response's head is buffered until it is complete (`response_head.rs`).

use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::response_head::ResponseHead;

/// The bytes of a head that are read at a time.
const HEAD_READ_BYTES: usize = 8 << 10;

thread_local! {
    /// Set once a stream's end was read since it was last cleared. A poll runs on one thread from start to end.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs one poll, and returns with its result whether it read the end of a stream.
pub(super) fn watch_end<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    ENDED.set(false);
    let outcome = poll();
    (outcome, ENDED.get())
}

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct UpstreamStream {
    transport: Transport,
    /// The response whose head is expected, since its request was written.
    awaited: Option<PendingEnd>,
    /// Buffered bytes, to be passed on next.
    held: Bytes,
    /// Set by an interim response (1xx). `awc` takes it for the final one and would give the real one to the next
    /// request on this connection, so the stream reads as ended from here on.
    interim: bool,
}

#[derive(Debug)]
struct PendingEnd {
    head: ResponseHead,
    /// Set if the request is a HEAD: its response has no body.
    to_head: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl UpstreamStream {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self::over(Transport::Plain(tcp))
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::over(Transport::Tls(Box::new(tls)))
    }

    fn over(transport: Transport) -> Self {
        Self { transport, awaited: None, held: Bytes::new(), interim: false }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }

    /// Reads until the expected head is complete or the stream ends, and passes it on.
    fn read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut awaited) = self.awaited.take() {
            let mut piece = [MaybeUninit::uninit(); HEAD_READ_BYTES];
            let mut piece = ReadBuf::uninit(&mut piece);
            let outcome = self.read(cx, &mut piece);
            if !matches!(outcome, Poll::Ready(Ok(()))) {
                self.awaited = Some(awaited);
                return outcome;
            }
            let read = piece.filled();
            let held =
                if read.is_empty() { Some(awaited.head.give()) } else { awaited.head.take(read, awaited.to_head) };
            match held {
                Some(held) => {
                    self.interim = held.starts_with(b"HTTP/1.1 1");
                    self.held = held.into();
                }
                None => self.awaited = Some(awaited),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.read_head(cx))?;
        if !this.held.is_empty() {
            buffer.put_slice(&this.held.split_to(this.held.len().min(buffer.remaining())));
            return Poll::Ready(Ok(()));
        }
        if this.interim {
            ENDED.set(true);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = this.read(cx, buffer);
        if matches!(outcome, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            ENDED.set(true);
        }
        outcome
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Keeps the first piece: a request may be written in several.
        let to_head = bytes.starts_with(b"HEAD ");
        this.awaited.get_or_insert_with(|| PendingEnd { head: ResponseHead::default(), to_head });
        match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Transport::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl ActixStream for UpstreamStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), cx)
    }
}
