//! The outermost layer of every request: `http.limits`, and the exchange that its connection counts.

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

/// The outermost layer: a request begins here, and has ended when its answer is handed over.
pub(in crate::http) async fn enforce(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.conn_data::<Rc<Connection>>().cloned();
    // A proxy's connection is everybody's.
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
        // Without a body, which would wait with the others until it is taken.
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

/// An answer's body, which holds its exchange open until the last of it is handed over.
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

    /// With HTTP/2 a body waits for its client even when all of it is here: its exchange is not over before.
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.exchange.as_ref().is_some_and(Exchange::is_http2) {
            return Err(self);
        }
        let Self { body, exchange } = self;
        body.try_into_bytes().map_err(|body| Self { body, exchange })
    }
}
