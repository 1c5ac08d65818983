//! The stream under an upstream connection: plain or TLS, and honest about how it ended.
//!
//! `awc` reports a body that the peer cut by FIN as a clean end. Here the end of the stream is noted as it is read, so
//! that the body's reader can tell the one from the other.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

thread_local! {
    /// Whether a stream's end was read since it was last cleared. A poll runs on one thread from end to end.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs one poll, and tells whether it read the end of a stream.
pub(super) fn watch_end<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    ENDED.set(false);
    let outcome = poll();
    (outcome, ENDED.get())
}

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Stream {
    transport: Transport,
    /// A request was written and nothing of its response read yet.
    awaits_head: bool,
    /// An interim response (1xx) came. `awc` takes it for the final one and would hand the real one to the next request
    /// on this connection: it reads as ended from here on.
    spoilt: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self { transport: Transport::Plain(tcp), awaits_head: false, spoilt: false }
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self { transport: Transport::Tls(Box::new(tls)), awaits_head: false, spoilt: false }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
        }
    }

    fn look_at(&mut self, read: &[u8]) {
        if read.is_empty() {
            ENDED.set(true);
        } else if std::mem::take(&mut self.awaits_head) {
            self.spoilt = read.starts_with(b"HTTP/1.1 1");
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.spoilt {
            ENDED.set(true);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        };
        if matches!(outcome, Poll::Ready(Ok(()))) {
            this.look_at(&buffer.filled()[before..]);
        }
        outcome
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.awaits_head = true;
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

impl ActixStream for Stream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), cx)
    }
}
