//! What one client may take (`http.limits`), and what it hears who wants more. The counting is in `gate`, `rate` and
//! `open_uploads`, the clocks of a connection in `connection`.

use std::{
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpRequest, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::Next,
    web,
};
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    connection::{Connection, Exchange},
    connection_limit::ConnectionLimit,
    errors::ApiError,
    forwarded::{client_address, is_proxy},
    rate_limit::RateLimit,
    upload_limit::{UploadLimit, UploadPermit, Uploader},
};

/// Between two log lines about one limit.
const QUIET: Duration = Duration::from_secs(10);

/// What one client may take. `None` is no limit.
#[derive(Clone, Debug, Default)]
pub struct RequestLimits {
    /// Bytes of a manifest that is pushed.
    pub manifest: Option<usize>,
    /// Bytes of a request's headers, names and values; 128 KiB at most.
    pub headers: Option<usize>,
    /// Requests on one connection.
    pub requests: Option<u64>,
    /// Connections at once, in all.
    pub connections: Option<u64>,
    /// Connections at once of one client.
    pub per_address: Option<u64>,
    /// From a head's first byte to its last; and for a TLS handshake.
    pub head_time: Option<Duration>,
    /// Between two pieces of a body on its way in.
    pub body_pause: Option<Duration>,
    /// Between two pieces of an answer that a client takes.
    pub send_pause: Option<Duration>,
    /// Uploads that one user, or one address without a user, has begun and not ended.
    pub uploads: Option<u64>,
    /// Requests a second of one client.
    pub rate: Option<u64>,
}

/// The limits and all that is counted for them; one for all doors.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) limits: RequestLimits,
    pub(super) gate: Arc<ConnectionLimit>,
    pub(super) uploads: UploadLimit,
    pub(super) late_heads: ThrottledLog,
    pub(super) unread: ThrottledLog,
    pub(super) left_over: ThrottledLog,
    pub(super) full: ThrottledLog,
    pub(super) stalled: ThrottledLog,
    pub(super) large: ThrottledLog,
    pub(super) guesses: ThrottledLog,
    rate: RateLimit,
    refused: ThrottledLog,
}

impl Limiter {
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self {
            gate: Arc::new(ConnectionLimit::new(limits.connections, limits.per_address)),
            uploads: UploadLimit::new(limits.uploads),
            rate: RateLimit::new(limits.rate),
            late_heads: ThrottledLog::default(),
            unread: ThrottledLog::default(),
            left_over: ThrottledLog::default(),
            full: ThrottledLog::default(),
            stalled: ThrottledLog::default(),
            large: ThrottledLog::default(),
            guesses: ThrottledLog::default(),
            refused: ThrottledLog::default(),
            limits,
        }
    }

    fn check(&self, request: &HttpRequest, client: IpAddr) -> Result<(), ApiError> {
        if let Err(wait) = self.rate.take(client, Instant::now()) {
            self.refused.tell(&format!("{client} asks more often than http.limits.rate allows"));
            return Err(ApiError::too_often(wait));
        }
        let Some(most) = self.limits.headers else { return Ok(()) };
        let length = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if length > most {
            self.refused.tell(&format!("{client} sent {length} bytes of headers: http.limits.headers is {most}"));
            return Err(ApiError::headers_size(most));
        }
        Ok(())
    }

    /// The refusal of one more request on a connection that has too many under way.
    fn refuse_stream(&self, client: IpAddr) -> ApiError {
        self.refused.tell(&format!("{client} asks for more at once than a connection of HTTP/2 may"));
        ApiError::too_many_streams()
    }

    /// Room for an upload of `client`'s.
    ///
    /// # Errors
    /// The refusal to send.
    pub(super) fn begin_upload(&self, client: &Uploader) -> Result<UploadPermit<'_>, ApiError> {
        self.uploads.begin(client.clone()).ok_or_else(|| {
            self.refused.tell(&format!("{client} has begun as many uploads as http.limits.uploads allows"));
            ApiError::too_many_uploads()
        })
    }
}

/// The limits of the server a request came to.
pub(super) fn limiter(request: &HttpRequest) -> Option<&Limiter> {
    request.app_data::<web::Data<Limiter>>().map(web::Data::get_ref)
}

/// Tells of a limit that a request ran into, where there are limits.
pub(super) fn tell(request: &HttpRequest, of: fn(&Limiter) -> &ThrottledLog, what: &str) {
    if let Some(limiter) = limiter(request) {
        of(limiter).tell(what);
    }
}

/// The outermost layer: a request begins here, and has ended when its answer is handed over.
pub(super) async fn enforce(
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

/// What is told of a limit: a line now and then, however many run into it.
#[derive(Debug, Default)]
pub(super) struct ThrottledLog {
    last: Mutex<Option<Instant>>,
    kept: AtomicU64,
}

impl ThrottledLog {
    pub(super) fn tell(&self, what: &str) {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() < QUIET) {
            self.kept.fetch_add(1, Relaxed);
            return;
        }
        *last = Some(Instant::now());
        match self.kept.swap(0, Relaxed) {
            0 => tracing::warn!("{what}"),
            kept => tracing::warn!("{what} ({kept} more since it was said last)"),
        }
    }
}
