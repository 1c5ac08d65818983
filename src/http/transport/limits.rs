//! The outermost middleware of every request: enforces `http.limits` and counts the requests of a connection.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::Next,
    web,
};
use bytes::Bytes;

use super::{
    connection::{Connection, Exchange},
    forwarded::{client_address, is_proxy},
    limiter::Limiter,
};

/// Checks the limits of a request, and keeps its exchange open until the response is written.
pub(in crate::http) async fn enforce(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.conn_data::<Rc<Connection>>().cloned();
    // Connections from a trusted proxy carry many clients.
    let crowded = connection.as_ref().is_some_and(|connection| connection.is_crowded()) && !is_proxy(request.request());
    let exchange = connection.as_ref().map(Connection::begin);
    let limiter = request.app_data::<web::Data<Limiter>>().cloned();
    let client = client_address(request.request());
    let checked = limiter.as_ref().map(|limiter| limiter.check(request.request(), client));
    let mut response = match (checked, &limiter) {
        (Some(Err(refusal)), _) => {
            let refused: HttpResponse = refusal.error_response();
            request.into_response(refused)
        }
        // Without a body, because a body would wait behind the other streams.
        (_, Some(limiter)) if crowded => {
            request.into_response(limiter.refuse_stream(client).error_response().drop_body().map_into_boxed_body())
        }
        _ => next.call(request).await?.map_into_boxed_body(),
    };
    let most = limiter.and_then(|limiter| limiter.limits.requests);
    if connection.is_some_and(|connection| connection.is_spent(most)) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| BoxBody::new(Held { body, exchange })))
}

/// A response body that keeps its exchange open until it is completely written.
struct Held {
    body: BoxBody,
    exchange: Option<Exchange>,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }

    /// With HTTP/2, even a complete body waits for its client, so the exchange must stay open.
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.exchange.as_ref().is_some_and(Exchange::is_http2) {
            return Err(self);
        }
        let Self { body, exchange } = self;
        body.try_into_bytes().map_err(|body| Self { body, exchange })
    }
}
