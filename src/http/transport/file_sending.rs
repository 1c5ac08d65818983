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

/// The range that a connection has to send before anything else. A connection has one body at a time.
#[derive(Default)]
pub(in crate::http) struct FileSlot(RefCell<Option<Transfer>>);

struct Transfer {
    file: Arc<BlobFile>,
    rest: Range<u64>,
    sent: SentFromFiles,
    began: Instant,
    /// The file was shorter than the range.
    is_short: bool,
    body: Waker,
}

impl FileSlot {
    pub(super) fn is_empty(&self) -> bool {
        !self.0.borrow().as_ref().is_some_and(Transfer::goes_on)
    }

    /// Sends by `send`, which gets the file, an offset and a length, and returns the number of bytes sent, until the
    /// range ends or `send` has to wait. Returns the time that the range took.
    pub(super) fn poll_send(
        &self,
        mut send: impl FnMut(&BlobFile, u64, u64) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<Duration>> {
        let mut slot = self.0.borrow_mut();
        let Some(transfer) = slot.as_mut() else { return Poll::Ready(Ok(Duration::ZERO)) };
        while transfer.goes_on() {
            let Range { start, end } = transfer.rest;
            match send(&transfer.file, start, end - start) {
                Poll::Ready(Ok(0)) => transfer.is_short = true,
                Poll::Ready(Ok(bytes)) => {
                    transfer.sent.add(bytes as u64);
                    transfer.rest.start += bytes as u64;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        transfer.body.wake_by_ref();
        Poll::Ready(Ok(transfer.began.elapsed()))
    }
}

impl Transfer {
    fn goes_on(&self) -> bool {
        !self.rest.is_empty() && !self.is_short
    }
}

/// Sends a range of a file on the connection of a slot. To be awaited by the body of a response, whose earlier chunks
/// are sent first. The bytes are counted by `sent`.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file is shorter; what it has of the range was sent.
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
        let mut slot = self.slot.0.borrow_mut();
        if let Some((file, rest, sent)) = self.begin.take() {
            *slot =
                Some(Transfer { file, rest, sent, began: Instant::now(), is_short: false, body: cx.waker().clone() });
        }
        match slot.as_mut() {
            Some(transfer) if transfer.goes_on() => {
                transfer.body.clone_from(cx.waker());
                Poll::Pending
            }
            Some(transfer) if transfer.is_short => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Sending<'_> {
    /// Takes the range away, sent or not: whoever drops the body in the middle closes the connection.
    fn drop(&mut self) {
        self.slot.0.borrow_mut().take();
    }
}

/// The bytes of a body that are sent from files. They are not among the body's chunks, so that whoever counts a body's
/// bytes has to look here, too: an extension of the response.
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
