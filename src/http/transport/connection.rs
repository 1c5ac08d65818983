//! A connection with its timeouts: for every request head, for a client that does not read its response, and for
//! idleness. The HTTP library limits only the time of the first head, and no writes.
//!
//! The library's stream and its requests share one [`Connection`]: all bytes pass through a [`Guarded`], and each
//! request marks in the [`Connection`] when it begins and when its response is written. Therefore bytes that arrive
//! between two requests are known to belong to a head.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::Protocol;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{connection_limit::Permit, file_sending::FileSlot, limiter::Limiter, timed_stream::ClientStream};

/// The longest time that a connection stays open without a request.
pub(in crate::http) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// The library's idle timeout ends first, because it closes the connection cleanly.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// A client that was answered before the end of its body may send this many bytes more, so that it can read the
/// response. The library itself would read a chunked body without a bound.
const MAX_DISCARDED_BYTES: u64 = 16 << 20;

/// The most concurrent streams of an HTTP/2 connection (RFC 9113, section 5.1.2 recommends at least 100).
const MAX_STREAMS: usize = 128;

/// The response to a request head that does not end in time.
const REQUEST_TIMEOUT_RESPONSE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n";

/// The state that the requests of a connection share.
pub(in crate::http) struct Connection {
    http2: bool,
    /// Requests whose responses are not completely written.
    open: Cell<usize>,
    /// Requests received so far.
    begun: Cell<u64>,
    /// The start of an incomplete head, or of the unread rest of a body.
    head: Cell<Option<Instant>>,
    /// Bytes received since then.
    unasked: Cell<u64>,
    /// The time since which there has been no request.
    idle: Cell<Instant>,
    /// The range of a file that has to be sent next. Only a connection has it whose bytes reach the socket as they are,
    /// neither encrypted nor framed.
    files: Option<Rc<FileSlot>>,
}

/// One request of a connection, until its response is written.
pub(in crate::http) struct Exchange(Rc<Connection>);

impl Connection {
    fn new(protocol: Protocol, files: Option<Rc<FileSlot>>) -> Self {
        let http2 = protocol == Protocol::Http2;
        let idle = Cell::new(Instant::now());
        Self {
            http2,
            open: Cell::new(0),
            begun: Cell::new(0),
            head: Cell::new(None),
            unasked: Cell::new(0),
            idle,
            files,
        }
    }

    /// Returns the slot by which bodies send ranges of files; `None` if they have to be read.
    pub(in crate::http) fn files(&self) -> Option<&Rc<FileSlot>> {
        self.files.as_ref()
    }

    /// Marks that a request head is complete.
    pub(in crate::http) fn begin(self: &Rc<Self>) -> Exchange {
        self.head.set(None);
        self.unasked.set(0);
        self.open.set(self.open.get() + 1);
        self.begun.set(self.begun.get() + 1);
        Exchange(Rc::clone(self))
    }

    /// Returns true if the connection has had its maximum of requests. Does not apply to HTTP/2.
    pub(in crate::http) fn is_spent(&self, most: Option<u64>) -> bool {
        !self.http2 && most.is_some_and(|most| self.begun.get() >= most)
    }

    /// Returns true if an HTTP/2 connection has its maximum of concurrent streams: each holds a chunk of its response
    /// and a file, and the library does not limit them. HTTP/2 is off by default; turning it on
    /// (`http.http2.disabled: false`) must not remove the limits of one client.
    pub(in crate::http) fn is_crowded(&self) -> bool {
        self.http2 && self.open.get() >= MAX_STREAMS
    }

    /// Counts received bytes, and starts the head's timeout if no request is in progress.
    fn received(&self, bytes: usize, now: Instant) {
        if self.open.get() > 0 || self.http2 {
            return;
        }
        self.unasked.set(self.unasked.get() + bytes as u64);
        if self.head.get().is_none() {
            self.head.set(Some(now));
        }
    }
}

impl Exchange {
    pub(in crate::http) fn is_http2(&self) -> bool {
        self.0.http2
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.idle.set(Instant::now());
    }
}

/// A stream that fails if its client exceeds a timeout.
pub(in crate::http) struct Guarded {
    stream: ClientStream,
    connection: Rc<Connection>,
    limiter: Arc<Limiter>,
    reading: Alarm,
    writing: Alarm,
    /// The time since which bytes wait that the client does not read.
    stuck: Option<Instant>,
    /// The time of the last read or write.
    moved: Instant,
    _permit: Permit,
}

impl Guarded {
    pub(in crate::http) fn new(
        stream: ClientStream,
        protocol: Protocol,
        limiter: Arc<Limiter>,
        permit: Permit,
    ) -> Self {
        let sends_files = protocol == Protocol::Http1 && stream.sends_files();
        Self {
            stream,
            connection: Rc::new(Connection::new(protocol, sends_files.then(Rc::default))),
            limiter,
            reading: Alarm::default(),
            writing: Alarm::default(),
            stuck: None,
            moved: Instant::now(),
            _permit: permit,
        }
    }

    pub(in crate::http) fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Returns the deadline for the next bytes.
    fn read_by(&self) -> Option<Instant> {
        let (connection, times) = (&self.connection, &self.limiter.limits);
        if connection.open.get() > 0 {
            // HTTP/1.1 bodies have their own timeout; an HTTP/2 stream may be blocked although no byte waits in this
            // buffer.
            return times.send_pause.filter(|_| connection.http2).map(|pause| self.moved + pause);
        }
        match connection.head.get() {
            Some(since) => times.head_time.map(|limit| since + limit),
            None => self.stuck.is_none().then(|| connection.idle.get() + IDLE_TIMEOUT + IDLE_GRACE),
        }
    }

    /// Returns the error for a read timeout, after a 408 if a head was incomplete.
    fn give_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        if self.connection.head.get().is_some() {
            self.limiter.late_heads.warn("a head took longer than http.limits.headtime: its connection is closed");
            // The connection is closed even if this cannot be written.
            let _ = Pin::new(&mut self.stream).poll_write(cx, REQUEST_TIMEOUT_RESPONSE);
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        io::ErrorKind::TimedOut.into()
    }

    /// Returns the error for a client that keeps sending without a request.
    fn cut_off(&self) -> io::Error {
        self.limiter.left_over.warn("a client sent on and on after it was answered: its connection is closed");
        io::ErrorKind::ConnectionAborted.into()
    }

    /// Applies the write timeout to the result of a write.
    fn written<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck = None;
            self.moved = Instant::now();
            return done;
        }
        let Some(pause) = self.limiter.limits.send_pause else { return done };
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if self.writing.has_passed(cx, since + pause) {
            self.limiter.unread.warn("a client took nothing for http.limits.sendpause: its connection is closed");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }

    /// Sends the range of a file that a body waits for. The library calls it when everything before is written.
    fn poll_send_file(&mut self, cx: &mut Context<'_>, files: &FileSlot) -> Poll<io::Result<()>> {
        let (stream, mut has_moved, was_fast) = (&self.stream, false, files.is_fast());
        let done = files.poll_send(|file, at, count| {
            let sent = stream.poll_send(cx, file, at, count);
            has_moved |= sent.is_ready();
            sent
        });
        if has_moved {
            self.stuck = None;
            self.moved = Instant::now();
        }
        if files.is_fast() != was_fast {
            self.stream.set_fast(files.is_fast());
        }
        self.written(cx, done)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let done = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if done.is_ready() {
            let came = buffer.filled().len() - before;
            if came > 0 {
                this.moved = Instant::now();
                this.connection.received(came, this.moved);
            }
            return if this.connection.unasked.get() > MAX_DISCARDED_BYTES {
                Poll::Ready(Err(this.cut_off()))
            } else {
                done
            };
        }
        match this.read_by() {
            Some(at) if this.reading.has_passed(cx, at) => Poll::Ready(Err(this.give_up(cx))),
            _ => Poll::Pending,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, done)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(files) = this.connection.files.clone().filter(|files| !files.is_empty()) {
            return this.poll_send_file(cx, &files);
        }
        let done = Pin::new(&mut this.stream).poll_flush(cx);
        if done.is_ready() { done } else { this.written(cx, done) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A timer that is set for each wait but rarely fires. A later deadline is applied only on wake-up, because resetting a
/// timer for each request would cost more than all other code here.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Returns true if `at` has passed; otherwise the task is woken by then.
    fn has_passed(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return true;
            }
            sleep.as_mut().reset(at);
        }
        false
    }
}
