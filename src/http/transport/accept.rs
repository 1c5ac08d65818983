//! Accepts connections: enforces the connection limit, sets socket options, and performs the TLS handshake.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix_http::Protocol;
use actix_web::rt::net::{TcpStream, UnixStream};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use super::{
    connection::Guarded,
    connection_limit::{LimitReached, Permit},
    limiter::Limiter,
    timed_stream::ClientStream,
    tls::Tls,
};
use crate::{
    config::Cidr,
    descriptors::{self, DescriptorUse},
    http::settings::Settings,
};

/// The time limit for the 503 to a refused connection; the constant below limits the concurrent ones.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_CONCURRENT_REFUSALS: usize = 64;
/// The handshake's time limit if none is configured.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 100\r\n\r\n\
    {\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"too many connections: try again\",\"detail\":null}]}   ";

/// An accepted connection with its protocol.
pub(in crate::http) type AcceptedConnection = (Guarded, Protocol, Option<SocketAddr>);

#[derive(Clone)]
pub(in crate::http) struct Acceptor {
    tls: Option<Arc<Tls>>,
    limiter: Arc<Limiter>,
    trusted: Arc<[Cidr]>,
    refusing: Arc<Semaphore>,
}

impl Acceptor {
    pub(in crate::http) fn new(settings: &Settings, tls: Option<Arc<Tls>>, limiter: Arc<Limiter>) -> Self {
        let trusted = settings.trusted_proxies.clone().into();
        Self { tls, limiter, trusted, refusing: Arc::new(Semaphore::new(MAX_CONCURRENT_REFUSALS)) }
    }

    pub(in crate::http) fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(&self.limiter)
    }

    /// # Errors
    /// An I/O error if a limit is reached, or if the handshake fails or takes too long.
    pub(in crate::http) async fn tcp(&self, stream: TcpStream) -> io::Result<AcceptedConnection> {
        let peer = stream.peer_addr()?;
        // Connections from a trusted proxy carry many clients, so they do not count for one address.
        let counted = !self.trusted.iter().any(|network| network.contains(peer.ip()));
        let permit = match self.limiter.connections.admit(counted.then(|| peer.ip())) {
            Ok(_) if descriptors::is_kept(&stream, DescriptorUse::Connection) => {
                return Err(self.refuse(stream, peer.ip(), LimitReached::Files).await);
            }
            Ok(permit) => permit,
            Err(reached) => return Err(self.refuse(stream, peer.ip(), reached).await),
        };
        self.tune(&stream);
        let (stream, protocol) = match &self.tls {
            None => (ClientStream::Plain(stream), Protocol::Http1),
            Some(tls) => {
                let limit = self.limiter.limits.head_time.unwrap_or(HANDSHAKE_TIMEOUT);
                let accepted = tls.accept(stream, limit).await;
                if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                    let what = "a TLS handshake took longer than http.limits.headtime: its connection is closed";
                    self.limiter.late_heads.warn(what);
                }
                let (stream, protocol) = accepted?;
                (ClientStream::Tls(Box::new(stream)), protocol)
            }
        };
        Ok((self.guarded(stream, protocol, permit), protocol, Some(peer)))
    }

    /// # Errors
    /// An I/O error if a limit is reached.
    pub(in crate::http) fn unix(&self, stream: UnixStream) -> io::Result<AcceptedConnection> {
        let permit = self.limiter.connections.admit(None).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        Ok((self.guarded(ClientStream::Unix(stream), Protocol::Http1, permit), Protocol::Http1, None))
    }

    fn guarded(&self, stream: ClientStream, protocol: Protocol, permit: Permit) -> Guarded {
        Guarded::new(stream, protocol, self.limiter(), permit)
    }

    fn tune(&self, stream: &TcpStream) {
        let socket = SockRef::from(stream);
        // These options are optimizations; their failure is ignored.
        let _ = socket.set_tcp_nodelay(true);
        ClientStream::bound_unsent(stream);
        let _ = socket.set_tcp_user_timeout(self.limiter.limits.send_pause);
    }

    /// Answers 503 to a refused connection, if few others are being refused. A TLS client would need a handshake first.
    async fn refuse(&self, mut stream: TcpStream, client: IpAddr, reached: LimitReached) -> io::Error {
        let why = match reached {
            LimitReached::All => "http.limits.connections are open in all",
            LimitReached::Client => "http.limits.peraddress are open of that address",
            LimitReached::Files => {
                "few files may be opened any more, and those are kept for the server's own work: raise the limit of open \
                 files (LimitNOFILE=, ulimit -n)"
            }
        };
        let what = format!("refused a connection of {client}: {why}");
        self.limiter.full.warn(&what);
        // The response needs the socket a moment longer.
        if self.tls.is_none()
            && !descriptors::is_kept(&stream, DescriptorUse::File)
            && let Ok(_permit) = self.refusing.try_acquire()
        {
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, send_unavailable(&mut stream)).await;
        }
        io::ErrorKind::QuotaExceeded.into()
    }
}

/// Reads the request before closing: closing with unread bytes resets the connection, and the response is lost.
async fn send_unavailable(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(UNAVAILABLE).await?;
    stream.shutdown().await?;
    let mut request = [0; 4096];
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_its_announced_length() {
        let text = std::str::from_utf8(UNAVAILABLE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
