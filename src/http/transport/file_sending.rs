//! Sends ranges of files by sendfile(2): from the page cache to the socket, without a copy.
//!
//! The HTTP library copies the chunks of a body into a buffer of its own, and knows no files. Therefore a body that is
//! at a file puts a range of it into its connection and waits. The library then writes out its buffer, with all that
//! precedes the range, and flushes the stream, and this flush sends the range. At its end the body is woken.

use std::{
    cell::{Cell, RefCell},
    io,
    ops::Range,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{metrics::LabelledCounter, storage::BlobFile};

/// Shorter ranges fit into the kernel's buffers, and tell nothing of the client's speed.
const MIN_TELLING_BYTES: u64 = 256 << 10;
/// The speed in bytes a second from which on a client is fast, and that below which it is slow again.
const FAST_BYTES: u64 = 50_000_000;
const SLOW_BYTES: u64 = 10_000_000;

/// The range that a connection has to send before anything else, and the speed of its client. A connection has one body
/// at a time.
#[derive(Default)]
pub(in crate::http) struct FileSlot {
    transfer: RefCell<Option<Transfer>>,
    is_fast: Cell<bool>,
}

struct Transfer {
    file: Arc<BlobFile>,
    rest: Range<u64>,
    length: u64,
    sent: SentFromFiles,
    began: Instant,
    /// The reason that the rest of the range cannot be sent.
    failed: Option<io::Error>,
    body: Waker,
}

impl FileSlot {
    pub(super) fn is_empty(&self) -> bool {
        !self.transfer.borrow().as_ref().is_some_and(Transfer::goes_on)
    }

    /// Returns whether the client took the last ranges at high speed.
    pub(in crate::http) fn is_fast(&self) -> bool {
        self.is_fast.get()
    }

    /// Judges the client's speed by a range of `length` bytes that it took.
    fn judge(&self, length: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let speed = length.saturating_mul(1_000_000) / micros;
        if length >= MIN_TELLING_BYTES && !(SLOW_BYTES..FAST_BYTES).contains(&speed) {
            self.is_fast.set(speed >= FAST_BYTES);
        }
    }

    /// Sends by `send`, which gets the file, an offset and a length, and returns the number of bytes sent, until the
    /// range ends or `send` has to wait. A failure that the file is to blame for ends the range; the body gets it.
    ///
    /// # Errors
    /// The error of `send`, if the socket is to blame.
    pub(super) fn poll_send(
        &self,
        mut send: impl FnMut(&BlobFile, u64, u64) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let mut slot = self.transfer.borrow_mut();
        let Some(transfer) = slot.as_mut() else { return Poll::Ready(Ok(())) };
        while transfer.goes_on() {
            let Range { start, end } = transfer.rest;
            match send(&transfer.file, start, end - start) {
                Poll::Ready(Ok(0)) => transfer.failed = Some(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(bytes)) => {
                    transfer.sent.add(bytes as u64);
                    transfer.rest.start += bytes as u64;
                }
                Poll::Ready(Err(error)) if is_of_socket(&error) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => transfer.failed = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        }
        if transfer.failed.is_none() {
            self.judge(transfer.length, transfer.began.elapsed());
        }
        transfer.body.wake_by_ref();
        Poll::Ready(Ok(()))
    }
}

impl Transfer {
    fn goes_on(&self) -> bool {
        !self.rest.is_empty() && self.failed.is_none()
    }
}

/// Returns whether an error of sendfile(2) means that the client is gone, or cannot be reached any more.
fn is_of_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, NotConnected,
        TimedOut,
    };
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}

/// Sends a range of a file on the connection of a slot. To be awaited by the body of a response, whose earlier chunks
/// are sent first. The bytes are counted by `sent`.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file is shorter, or the operating system's error if it cannot be read; what
/// it has of the range was sent.
pub(in crate::http) async fn send(
    slot: &FileSlot,
    file: Arc<BlobFile>,
    range: Range<u64>,
    sent: SentFromFiles,
) -> io::Result<()> {
    Sending { slot, begin: Some((file, range, sent)) }.await
}

struct Sending<'a> {
    slot: &'a FileSlot,
    /// The range that is not in the slot yet.
    begin: Option<(Arc<BlobFile>, Range<u64>, SentFromFiles)>,
}

impl Future for Sending<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.transfer.borrow_mut();
        if let Some((file, rest, sent)) = self.begin.take() {
            let (length, body) = (rest.end - rest.start, cx.waker().clone());
            *slot = Some(Transfer { file, rest, length, sent, began: Instant::now(), failed: None, body });
        }
        match slot.as_mut() {
            Some(transfer) if transfer.goes_on() => {
                transfer.body.clone_from(cx.waker());
                Poll::Pending
            }
            transfer => Poll::Ready(transfer.and_then(|transfer| transfer.failed.take()).map_or(Ok(()), Err)),
        }
    }
}

impl Drop for Sending<'_> {
    /// Removes the range from the slot, sent or not: a body that is dropped in the middle ends its connection.
    fn drop(&mut self) {
        self.slot.transfer.borrow_mut().take();
    }
}

/// The number of a body's bytes that were sent from files. It is an extension of the response: such bytes are not among
/// the body's chunks, so a counter of its bytes has to add these.
#[derive(Clone)]
pub(in crate::http) struct SentFromFiles {
    bytes: Rc<Cell<u64>>,
    /// Counts them as they are sent.
    served: Option<LabelledCounter>,
}

impl SentFromFiles {
    /// Creates a count of 0, whose bytes are added to `served`, too.
    pub(in crate::http) fn new(served: Option<LabelledCounter>) -> Self {
        Self { bytes: Rc::default(), served }
    }

    fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        self.served.iter().for_each(|served| served.add(bytes));
    }

    pub(in crate::http) fn get(&self) -> u64 {
        self.bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn is_fast_after(ranges: &[(u64, Duration)]) -> bool {
        let slot = FileSlot::default();
        ranges.iter().for_each(|&(length, took)| slot.judge(length, took));
        slot.is_fast()
    }

    #[test]
    fn a_client_is_fast_from_fifty_megabytes_a_second_on() {
        assert!(!is_fast_after(&[]));
        assert!(!is_fast_after(&[(1 << 20, Duration::from_millis(22))]));
        assert!(is_fast_after(&[(1 << 20, Duration::from_millis(20))]));
        assert!(is_fast_after(&[(1 << 20, Duration::ZERO)]));
    }

    /// A client that vanishes is no damaged disk.
    #[test]
    fn an_error_is_of_the_socket_or_of_the_file() {
        let of_socket = |errno: Errno| is_of_socket(&io::Error::from(errno));
        let gone = [Errno::PIPE, Errno::CONNRESET, Errno::CONNABORTED, Errno::NOTCONN, Errno::TIMEDOUT];
        let unreachable = [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::NETDOWN];
        assert!(gone.into_iter().chain(unreachable).all(of_socket));
        assert!(![Errno::IO, Errno::NOMEM, Errno::OVERFLOW].into_iter().any(of_socket));
    }

    #[test]
    fn a_short_range_tells_nothing_of_the_speed() {
        assert!(!is_fast_after(&[((256 << 10) - 1, Duration::ZERO)]));
        assert!(is_fast_after(&[(1 << 20, Duration::ZERO), (1 << 10, Duration::from_secs(9))]));
    }

    #[test]
    fn a_fast_client_stays_fast_until_it_is_slow() {
        let fast = (1 << 20, Duration::ZERO);
        assert!(is_fast_after(&[fast, (1 << 20, Duration::from_millis(100))]));
        assert!(!is_fast_after(&[fast, (1 << 20, Duration::from_millis(110))]));
    }
}
