//! A response body whose bytes are counted as they are read from it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

/// A count of bytes, which is dropped with the body.
pub(super) trait ByteCount {
    fn add(&mut self, bytes: u64);
}

/// A body with a count of the bytes that were sent of it.
pub(super) struct CountedBody<C> {
    body: BoxBody,
    count: C,
}

impl<C: ByteCount + Unpin + 'static> CountedBody<C> {
    pub(super) fn boxed(body: BoxBody, count: C) -> BoxBody {
        BoxBody::new(Self { body, count })
    }
}

impl<C: ByteCount + Unpin> MessageBody for CountedBody<C> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = ready!(self.body.as_pin_mut().poll_next(cx));
        if let Some(Ok(bytes)) = &piece {
            self.count.add(bytes.len() as u64);
        }
        Poll::Ready(piece)
    }
}
