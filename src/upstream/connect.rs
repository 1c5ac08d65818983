//! Makes connections: DNS, the check of the address, TCP, the proxy's CONNECT, TLS.
//!
//! Addresses are checked between the lookup and the connection that uses its result, so that a second lookup with
//! another result changes nothing. Behind a proxy the proxy resolves names: only literal addresses and local names can
//! be refused there.

use std::{io, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::{
    future::LocalBoxFuture,
    stream::{FuturesUnordered, StreamExt as _},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use url::Url;

use super::{
    Error, Phase, Proxy, Trust,
    address_policy::{AddressPolicy, bare_host},
    proxy::ProxyAddress,
    stream::UpstreamStream,
};

/// The delay before the next address is tried (RFC 8305, section 5).
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// The maximum length in bytes of a proxy's response to CONNECT.
const MAX_PROXY_HEAD_BYTES: usize = 8 * 1024;

/// The properties that, with the host, decide whether two requests may share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientRoute {
    /// The accepted certificates; `None` for plain HTTP.
    pub(super) tls: Option<Trust>,
    pub(super) address_policy: AddressPolicy,
    /// The timeout for DNS, TCP and TLS together.
    pub(super) patience: Duration,
}

/// The state that all connections share.
pub(super) struct Dialer {
    trust: Trust,
    proxy: Proxy,
}

impl Dialer {
    /// `trust` is that of upstreams without their own.
    pub(super) fn new(trust: Trust, proxy: Proxy) -> Self {
        Self { trust, proxy }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Returns whether `url` is reached without the proxy.
    pub(super) fn goes_direct(&self, url: &Url) -> bool {
        let port = url.port_or_known_default().unwrap_or_default();
        url.scheme() != "https" || self.proxy.hop_for(url.host_str().unwrap_or_default(), port).is_none()
    }
}

/// The service that makes `awc`'s connections. Its URIs always have the scheme `http`: TLS is made here, below the
/// stream that watches for the end of the connection.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) dialer: Arc<Dialer>,
    pub(super) route: ClientRoute,
}

impl Service<ConnectInfo<Uri>> for Dial {
    type Response = Connection<Uri, UpstreamStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move {
            let uri = info.request().clone();
            let stream = dial.connect(bare_host(info.hostname()), info.port()).await;
            stream.map(|stream| Connection::new(uri, stream)).map_err(|error| ConnectError::Io(error.into_io()))
        })
    }
}

impl Dial {
    async fn connect(&self, host: &str, port: u16) -> Result<UpstreamStream, Error> {
        let late = |_| Err(Error::Timeout { phase: Phase::Connect });
        timeout(self.route.patience, self.establish(host, port)).await.unwrap_or_else(late)
    }

    async fn establish(&self, host: &str, port: u16) -> Result<UpstreamStream, Error> {
        let hop = self.dialer.proxy.hop_for(host, port).filter(|_| self.route.tls.is_some());
        let tcp = match hop {
            Some(hop) => self.tunnel(hop, host, port).await?,
            None => open(self.allowed(host, port).await?).await?,
        };
        match &self.route.tls {
            Some(trust) => secure(trust, host, tcp).await,
            None => Ok(UpstreamStream::plain(tcp)),
        }
    }

    /// Returns the host's addresses that the policy allows.
    async fn allowed(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let mut addresses = resolve(host, port).await?;
        let refused = addresses.first().map(|address| format!("{host} is at {}", address.ip()));
        addresses.retain(|address| self.route.address_policy.allows(address.ip()));
        match refused {
            Some(text) if addresses.is_empty() => Err(Error::Redirect(text)),
            _ => Ok(addresses),
        }
    }

    async fn tunnel(&self, hop: &ProxyAddress, host: &str, port: u16) -> Result<TcpStream, Error> {
        let literal = host.parse::<IpAddr>().is_ok_and(|address| !self.route.address_policy.allows(address));
        if literal || !self.route.address_policy.allows_name(host) {
            return Err(Error::Redirect(format!("{host} is not a public host")));
        }
        let mut tcp = open(resolve(&hop.host, hop.port).await?).await?;
        let refused = |why| Error::Unreachable(format!("the proxy {}:{}: {why}", hop.host, hop.port));
        ask_proxy(&mut tcp, hop, host, port).await.map_err(|error| refused(error.to_string()))?;
        Ok(tcp)
    }
}

async fn secure(trust: &Trust, host: &str, tcp: TcpStream) -> Result<UpstreamStream, Error> {
    let unfit = |_| Error::Unreachable(format!("TLS: {host} cannot be a certificate's name"));
    let name = ServerName::try_from(host.to_owned()).map_err(unfit)?;
    let failed = |error: io::Error| Error::Unreachable(format!("TLS with {host}: {error}"));
    trust.connector().connect(name, tcp).await.map(UpstreamStream::tls).map_err(failed)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let failed = |error: io::Error| Error::Unreachable(format!("{host} does not resolve: {error}"));
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(Error::Unreachable(format!("{host} has no address")));
    }
    Ok(addresses)
}

/// Returns the first connection that succeeds; the attempts start one after the other, a little apart.
async fn open(addresses: Vec<SocketAddr>) -> Result<TcpStream, Error> {
    let attempt = |(delay, address): (Duration, SocketAddr)| async move {
        sleep(delay).await;
        TcpStream::connect(address).await.map_err(|error| Error::Unreachable(format!("{address}: {error}")))
    };
    let delays = (0..).map(|turn| NEXT_ADDRESS_DELAY * turn);
    let mut attempts: FuturesUnordered<_> = delays.zip(addresses).map(attempt).collect();
    let mut failure = Error::Unreachable("no address".into());
    while let Some(outcome) = attempts.next().await {
        match outcome {
            Ok(tcp) => return tcp.set_nodelay(true).map(|()| tcp).map_err(|e| Error::Unreachable(e.to_string())),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Sends CONNECT (RFC 9110, section 9.3.6).
async fn ask_proxy(tcp: &mut TcpStream, hop: &ProxyAddress, host: &str, port: u16) -> io::Result<()> {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let authorization = hop.authorization.as_ref();
    let authorization = authorization.map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let head = read_head(tcp).await?;
    let code = head.split(' ').nth(1).and_then(|code| code.get(..3)).unwrap_or_default();
    let accepted = head.starts_with("HTTP/1.") && code.starts_with('2');
    if accepted { Ok(()) } else { Err(io::Error::other(format!("it answered {code:?} to CONNECT"))) }
}

/// Reads up to the empty line. No byte of the upstream follows it, as the TLS client speaks first.
async fn read_head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_PROXY_HEAD_BYTES {
            return Err(io::Error::other("its answer to CONNECT is too long"));
        }
        head.push(tcp.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
