//! The HTTP client of one thread: sends a request, repeats it once if no final response came, and logs each attempt.
//! Redirects and authentication are in `request.rs`.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use awc::http::{
    Method, StatusCode,
    header::{ACCEPT_ENCODING, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use bytes::Bytes;
use tokio::time::Instant;
use tracing::debug;
use url::Url;

use super::{
    Error, Remote, Trust,
    address_policy::AddressPolicy,
    connect::{ClientRoute, Dial, Dialer},
    error,
    redacted_url::RedactedUrl,
};

/// A response whose head was received.
pub(super) type Response = awc::ClientResponse;

/// No limit on the connections of a thread, in `awc`'s notation. `permits.rs` bounds them instead, so that no request
/// spends an upstream's response time on waiting for a connection.
const UNLIMITED_CONNECTIONS: usize = 0;
/// The time after which an idle connection is not used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The age at which all idle connections of a route are closed, however busy the route is.
const MAX_ROUTE_AGE: Duration = Duration::from_secs(120);
/// The interval of [`Client::close_idle`].
pub(super) const CLOSE_IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// Longer than any of the dialer's own timeouts.
const DIALER_TIMEOUT: Duration = Duration::from_secs(3600);
const AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// A handle on the connections of one thread. Cheap to clone, and bound to its thread;
/// [`ClientThreads`](super::ClientThreads) passes it to jobs.
#[derive(Clone)]
pub struct Client(Rc<ClientInner>);

struct ClientInner {
    dialer: Arc<Dialer>,
    /// One `awc` client for each route. Its connection pool is keyed by host only, and a connection that is allowed for
    /// one upstream must not serve another's redirect.
    clients: RefCell<HashMap<ClientRoute, RouteClient>>,
}

/// The connections of one route.
struct RouteClient {
    client: awc::Client,
    created: Instant,
    /// The time of the last request.
    used: Instant,
}

/// A request, without the headers that all requests share.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
    pub(super) address_policy: AddressPolicy,
    /// The accepted certificates, if they are not those of most upstreams.
    pub(super) trust: Option<Trust>,
    /// The timeout for DNS, TCP and TLS.
    pub(super) connect: Duration,
}

impl Client {
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self(Rc::new(ClientInner { dialer, clients: RefCell::default() }))
    }

    /// Sends the request, and once more if the connection failed: all requests are idempotent, or
    /// may come twice. Only connecting has a
    /// timeout.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, Error> {
        match self.send_once(request).await {
            Err(Error::Unreachable(_)) => self.send_once(request).await,
            Ok(response) if response.status().is_informational() => self.send_once(request).await,
            outcome => outcome,
        }
        .and_then(refuse_interim)
    }

    async fn send_once(&self, request: &Request) -> Result<Response, Error> {
        let started = Instant::now();
        let (uri, host) = target(&request.url)?;
        let always = [
            (HOST, host),
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            // Without it the upstream may choose any encoding, but a digest is of the stored bytes.
            (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ];
        let mut ready = self.route(request).request(request.method.clone(), uri).no_decompress();
        for header in request.headers.iter().cloned() {
            ready = ready.append_header(header);
        }
        for header in always {
            ready = ready.insert_header(header);
        }
        let sent = match &request.body {
            Some(body) => ready.send_body(body.clone()),
            None => ready.send(),
        };
        let outcome = sent.await.map_err(error::sent);
        let status = outcome.as_ref().ok().map(|response| response.status().as_u16());
        let error = outcome.as_ref().err().map(tracing::field::display);
        let ms = started.elapsed().as_millis();
        debug!(method = %request.method, url = %RedactedUrl(&request.url), status, error, ms, "asked upstream");
        outcome
    }

    /// Returns the address policy for `url`, which a response of `remote` names.
    pub(super) async fn address_policy(&self, remote: &Remote, url: &Url) -> AddressPolicy {
        remote.address_policy(url, self.0.dialer.goes_direct(remote.base())).await
    }

    /// Closes the idle connections of every route that was not used for [`IDLE_TIMEOUT`] or is older than
    /// [`MAX_ROUTE_AGE`]. `awc` itself closes an idle connection only when it takes it for the next request, so that
    /// those of a burst would stay. A connection in use ends with its response.
    pub(super) fn close_idle(&self) {
        let is_kept =
            |route: &RouteClient| route.used.elapsed() < IDLE_TIMEOUT && route.created.elapsed() < MAX_ROUTE_AGE;
        self.0.clients.borrow_mut().retain(|_, route| is_kept(route));
    }

    fn route(&self, request: &Request) -> awc::Client {
        let trust = || request.trust.as_ref().unwrap_or_else(|| self.0.dialer.trust()).clone();
        let tls = (request.url.scheme() == "https").then(trust);
        let route = ClientRoute { tls, address_policy: request.address_policy, patience: request.connect };
        let mut clients = self.0.clients.borrow_mut();
        let new = |route: &ClientRoute| RouteClient::new(&self.0.dialer, route.clone());
        let route = clients.entry(route).or_insert_with_key(new);
        route.used = Instant::now();
        route.client.clone()
    }
}

impl RouteClient {
    fn new(dialer: &Arc<Dialer>, route: ClientRoute) -> Self {
        let now = Instant::now();
        Self { client: client(dialer, route), created: now, used: now }
    }
}

fn client(dialer: &Arc<Dialer>, route: ClientRoute) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(Dial { dialer: Arc::clone(dialer), route })
        .timeout(DIALER_TIMEOUT)
        .limit(UNLIMITED_CONNECTIONS)
        .conn_keep_alive(IDLE_TIMEOUT)
        .conn_lifetime(MAX_ROUTE_AGE);
    awc::Client::builder().connector(connector).disable_redirects().disable_timeout().finish()
}

/// Returns the URI for `awc` (see [`Dial`] on its scheme), and the `Host` header.
fn target(url: &Url) -> Result<(String, HeaderValue), Error> {
    let unfit = || Error::Redirect("the URL has no host".into());
    let host = url.host_str().ok_or_else(unfit)?;
    let port = url.port_or_known_default().ok_or_else(unfit)?;
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let header = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let header = HeaderValue::try_from(header).map_err(|_| unfit())?;
    Ok((format!("http://{host}:{port}{}{query}", url.path()), header))
}

/// Rejects an interim response, even after a retry; 101 was not requested.
fn refuse_interim(response: Response) -> Result<Response, Error> {
    match response.status() {
        status if status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Error::Protocol(format!("{} as the final response", status.as_u16())))
        }
        _ => Ok(response),
    }
}
