//! The byte stream of a connection: TCP, TLS over TCP, or a Unix socket.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::rt::net::{TcpStream, UnixStream};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::storage::BlobFile;

/// The most unsent bytes in the kernel for one client. More would hold megabytes for each slow client, and chunks would
/// count as read too early.
const MAX_UNSENT_BYTES: u32 = 128 << 10;
/// As [`MAX_UNSENT_BYTES`], for a fast client that is sent files: with few bytes in the kernel, each of its reads would
/// wake this side up.
const MAX_UNSENT_BYTES_OF_FILES: u32 = 4 << 20;

pub(in crate::http) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl ClientStream {
    /// Bounds the unsent bytes of a new connection. This is an optimization; its failure is ignored.
    pub(super) fn bound_unsent(stream: &TcpStream) {
        let _ = SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
    }

    /// Bounds the unsent bytes by the speed of the client.
    pub(super) fn set_fast(&self, is_fast: bool) {
        if let Self::Plain(stream) = self {
            let unsent = if is_fast { MAX_UNSENT_BYTES_OF_FILES } else { MAX_UNSENT_BYTES };
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(unsent);
        }
    }

    /// Returns whether bytes of files can be sent as they are.
    pub(super) fn sends_files(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Sends up to `count` bytes of a file from the offset `at` on. Returns their number; 0 at the end of the file.
    ///
    /// # Errors
    /// The operating system's error, or [`io::ErrorKind::Unsupported`] if the stream does not send files.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        file: &BlobFile,
        at: u64,
        count: u64,
    ) -> Poll<io::Result<usize>> {
        let Self::Plain(stream) = self else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || file.send(stream.as_fd(), at, count)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Delegates a call to the inner stream.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Self::Plain($inner) => $call,
            Self::Tls($inner) => $call,
            Self::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
