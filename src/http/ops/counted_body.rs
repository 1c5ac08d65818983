//! A response body whose bytes are counted as they are read from it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
};
use bytes::Bytes;

use crate::http::transport::file_sending::SentFromFiles;

/// A count of bytes, which is dropped with the body.
pub(super) trait ByteCount {
    fn add(&mut self, bytes: u64);
}

/// A body with a count of the bytes that were sent of it.
pub(super) struct CountedBody<C: ByteCount> {
    body: BoxBody,
    count: C,
    /// The bytes that are sent from files, and those of them that are counted.
    from_files: Option<(SentFromFiles, u64)>,
}

impl<C: ByteCount + Unpin + 'static> CountedBody<C> {
    /// Replaces the body of a response by a counted one.
    pub(super) fn of<B: MessageBody + 'static>(response: ServiceResponse<B>, count: C) -> ServiceResponse<BoxBody> {
        let from_files = response.response().extensions().get::<SentFromFiles>().map(|sent| (sent.clone(), 0));
        response.map_body(|_, body| BoxBody::new(Self { body: body.boxed(), count, from_files }))
    }
}

impl<C: ByteCount> CountedBody<C> {
    fn count_from_files(&mut self) {
        let Some((sent, counted)) = &mut self.from_files else { return };
        self.count.add(sent.get() - *counted);
        *counted = sent.get();
    }
}

impl<C: ByteCount> Drop for CountedBody<C> {
    fn drop(&mut self) {
        self.count_from_files();
    }
}

impl<C: ByteCount + Unpin> MessageBody for CountedBody<C> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.count_from_files();
        let piece = ready!(self.body.as_pin_mut().poll_next(cx));
        if let Some(Ok(bytes)) = &piece {
            self.count.add(bytes.len() as u64);
        }
        Poll::Ready(piece)
    }
}
