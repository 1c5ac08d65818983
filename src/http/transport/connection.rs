//! A connection and its clocks: how long a head may take, every one of them, and how long a client may take nothing of
//! its answer. The HTTP library times the first head only, and not what it sends.
//!
//! Both sides of the library know the connection: its bytes pass through a [`Guarded`], and each request tells the
//! [`Connection`] when it begins and when its answer has been handed over. So a byte that comes between two requests is
//! known to be a head's.

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

use super::{connection_limit::Permit, limiter::Limiter, timed_stream::Stream};

/// A connection without a request.
pub(in crate::http) const IDLE: Duration = Duration::from_secs(75);
/// The library's own clock for that goes first: it closes more politely.
const GRACE: Duration = Duration::from_secs(5);

/// Who was answered before the end of what they sent may go on for this many bytes, so that they hear the answer: the library
/// reads past all that comes in chunks, for ever.
const LEFT_OVER: u64 = 16 << 20;

/// Requests at once on a connection of HTTP/2 (RFC 9113, section 5.1.2, has no fewer than 100).
const MOST_STREAMS: usize = 128;

/// What a head that never ends is answered.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n";

/// What the requests of a connection have in common.
pub(in crate::http) struct Connection {
    http2: bool,
    /// Requests whose answers are not all handed over.
    open: Cell<usize>,
    /// Requests so far.
    begun: Cell<u64>,
    /// Since when a head has been coming, or what is left of a body that nobody wants.
    head: Cell<Option<Instant>>,
    /// Bytes that came since.
    unasked: Cell<u64>,
    /// Since when there has been no request.
    idle: Cell<Instant>,
}

/// One request of a connection, until its answer has been handed over.
pub(in crate::http) struct Exchange(Rc<Connection>);

impl Connection {
    fn new(protocol: Protocol) -> Self {
        let http2 = protocol == Protocol::Http2;
        let idle = Cell::new(Instant::now());
        Self { http2, open: Cell::new(0), begun: Cell::new(0), head: Cell::new(None), unasked: Cell::new(0), idle }
    }

    /// A head is complete.
    pub(in crate::http) fn begin(self: &Rc<Self>) -> Exchange {
        self.head.set(None);
        self.unasked.set(0);
        self.open.set(self.open.get() + 1);
        self.begun.set(self.begun.get() + 1);
        Exchange(Rc::clone(self))
    }

    /// Whether it has had as many requests as it may. HTTP/2 has other ways to end.
    pub(in crate::http) fn is_spent(&self, most: Option<u64>) -> bool {
        !self.http2 && most.is_some_and(|most| self.begun.get() >= most)
    }

    /// Whether it has as many requests under way as HTTP/2 may have: each holds a piece of its answer, and a file. The library
    /// itself lets any number in.
    pub(in crate::http) fn is_crowded(&self) -> bool {
        self.http2 && self.open.get() >= MOST_STREAMS
    }

    /// Bytes came.
    fn heard(&self, bytes: usize, now: Instant) {
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

/// A stream that fails when its client takes too long.
pub(in crate::http) struct Guarded {
    stream: Stream,
    connection: Rc<Connection>,
    limiter: Arc<Limiter>,
    reading: Alarm,
    writing: Alarm,
    /// Since when bytes wait that the client does not take.
    stuck: Option<Instant>,
    /// When bytes last went either way.
    moved: Instant,
    _ticket: Permit,
}

impl Guarded {
    pub(in crate::http) fn new(stream: Stream, protocol: Protocol, limiter: Arc<Limiter>, permit: Permit) -> Self {
        Self {
            stream,
            connection: Rc::new(Connection::new(protocol)),
            limiter,
            reading: Alarm::default(),
            writing: Alarm::default(),
            stuck: None,
            moved: Instant::now(),
            _ticket: permit,
        }
    }

    pub(in crate::http) fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// When to give up, if nothing comes until then.
    fn read_by(&self) -> Option<Instant> {
        let (connection, times) = (&self.connection, &self.limiter.limits);
        if connection.open.get() > 0 {
            // HTTP/1.1's bodies have clocks of their own; a stream of HTTP/2 may be stuck without a byte waiting here.
            return times.send_pause.filter(|_| connection.http2).map(|pause| self.moved + pause);
        }
        match connection.head.get() {
            Some(since) => times.head_time.map(|limit| since + limit),
            None => self.stuck.is_none().then(|| connection.idle.get() + IDLE + GRACE),
        }
    }

    /// Nothing came, for too long.
    fn give_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        if self.connection.head.get().is_some() {
            self.limiter.late_heads.tell("a head took longer than http.limits.headtime: its connection is closed");
            // Whether it arrives makes no difference here.
            let _ = Pin::new(&mut self.stream).poll_write(cx, LATE);
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
        io::ErrorKind::TimedOut.into()
    }

    /// Bytes come and come, and no request.
    fn cut_off(&self) -> io::Error {
        self.limiter.left_over.tell("a client sent on and on after it was answered: its connection is closed");
        io::ErrorKind::ConnectionAborted.into()
    }

    /// Holds what became of a write against the clock.
    fn written<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck = None;
            self.moved = Instant::now();
            return done;
        }
        let Some(pause) = self.limiter.limits.send_pause else { return done };
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if self.writing.rings(cx, since + pause) {
            self.limiter.unread.tell("a client took nothing for http.limits.sendpause: its connection is closed");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
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
                this.connection.heard(came, this.moved);
            }
            return if this.connection.unasked.get() > LEFT_OVER { Poll::Ready(Err(this.cut_off())) } else { done };
        }
        match this.read_by() {
            Some(at) if this.reading.rings(cx, at) => Poll::Ready(Err(this.give_up(cx))),
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
        let done = Pin::new(&mut this.stream).poll_flush(cx);
        if done.is_ready() { done } else { this.written(cx, done) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A timer that is set for each wait and rings for few. It is moved forward only, and looks again when it wakes: setting one
/// for each request would cost more than the rest of this file.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `at` has passed; if not, the task is woken by then.
    fn rings(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
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
