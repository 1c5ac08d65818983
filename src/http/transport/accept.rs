//! How a connection comes in: whether there is room for it, what its socket is told, the TLS handshake.

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
    timed_stream::Stream,
    tls::Tls,
};
use crate::{
    config::Network,
    descriptors::{self, Use},
    http::settings::Settings,
};

/// How much may wait in the kernel for a client: beyond it, a slow client's megabytes would lie there, and a chunk would
/// look taken when it is not.
const NOT_SENT: u32 = 128 << 10;
/// What an answer to a connection that finds no room may take, and how many of them there are at once.
const REFUSING: Duration = Duration::from_secs(1);
const REFUSED_AT_ONCE: usize = 64;
/// For a handshake, where nothing limits it.
const HANDSHAKE: Duration = Duration::from_secs(30);

const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 100\r\n\r\n\
    {\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"too many connections: try again\",\"detail\":null}]}   ";

/// A connection that may speak, and by which protocol.
pub(in crate::http) type Accepted = (Guarded, Protocol, Option<SocketAddr>);

#[derive(Clone)]
pub(in crate::http) struct Acceptor {
    tls: Option<Arc<Tls>>,
    limiter: Arc<Limiter>,
    trusted: Arc<[Network]>,
    refusing: Arc<Semaphore>,
}

impl Acceptor {
    pub(in crate::http) fn new(settings: &Settings, tls: Option<Arc<Tls>>, limiter: Arc<Limiter>) -> Self {
        let trusted = settings.trusted_proxies.clone().into();
        Self { tls, limiter, trusted, refusing: Arc::new(Semaphore::new(REFUSED_AT_ONCE)) }
    }

    pub(in crate::http) fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(&self.limiter)
    }

    /// # Errors
    /// When there is no room, or no handshake in time.
    pub(in crate::http) async fn tcp(&self, stream: TcpStream) -> io::Result<Accepted> {
        let peer = stream.peer_addr()?;
        // A proxy's connections are everybody's.
        let counted = !self.trusted.iter().any(|network| network.contains(peer.ip()));
        let permit = match self.limiter.gate.admit(counted.then(|| peer.ip())) {
            Ok(_) if descriptors::is_kept(&stream, Use::Connection) => {
                return Err(self.refuse(stream, peer.ip(), LimitReached::Files).await);
            }
            Ok(permit) => permit,
            Err(reached) => return Err(self.refuse(stream, peer.ip(), reached).await),
        };
        self.tune(&stream);
        let (stream, protocol) = match &self.tls {
            None => (Stream::Plain(stream), Protocol::Http1),
            Some(tls) => {
                let limit = self.limiter.limits.head_time.unwrap_or(HANDSHAKE);
                let accepted = tls.accept(stream, limit).await;
                if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                    let what = "a TLS handshake took longer than http.limits.headtime: its connection is closed";
                    self.limiter.late_heads.tell(what);
                }
                let (stream, protocol) = accepted?;
                (Stream::Tls(Box::new(stream)), protocol)
            }
        };
        Ok((self.guarded(stream, protocol, permit), protocol, Some(peer)))
    }

    /// # Errors
    /// When there is no room.
    pub(in crate::http) fn unix(&self, stream: UnixStream) -> io::Result<Accepted> {
        let permit = self.limiter.gate.admit(None).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        Ok((self.guarded(Stream::Unix(stream), Protocol::Http1, permit), Protocol::Http1, None))
    }

    fn guarded(&self, stream: Stream, protocol: Protocol, permit: Permit) -> Guarded {
        Guarded::new(stream, protocol, self.limiter(), permit)
    }

    fn tune(&self, stream: &TcpStream) {
        let socket = SockRef::from(stream);
        // A socket that takes none of these still works.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
        let _ = socket.set_tcp_user_timeout(self.limiter.limits.send_pause);
    }

    /// Says that there is no room, for as many as can be told without giving them room. TLS would have to be spoken first.
    async fn refuse(&self, mut stream: TcpStream, client: IpAddr, reached: LimitReached) -> io::Error {
        let why = match reached {
            LimitReached::All => "http.limits.connections are open in all",
            LimitReached::Client => "http.limits.peraddress are open of that address",
            LimitReached::Files => {
                "few files may be opened any more, and those are kept for the server's own work: raise the limit of open \
                 files (LimitNOFILE=, ulimit -n)"
            }
        };
        let what = format!("no room for a connection of {client}: {why}");
        self.limiter.full.tell(&what);
        // Who is told keeps the socket for a moment.
        if self.tls.is_none()
            && !descriptors::is_kept(&stream, Use::File)
            && let Ok(_place) = self.refusing.try_acquire()
        {
            let _ = tokio::time::timeout(REFUSING, send_away(&mut stream)).await;
        }
        io::ErrorKind::QuotaExceeded.into()
    }
}

/// Closed with a request unread, the connection would be reset, and the answer lost.
async fn send_away(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(NO_ROOM).await?;
    stream.shutdown().await?;
    let mut request = [0; 4096];
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
