//! The listener, the workers, and how a connection is treated.

use std::{
    any::Any,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::{Condition, from_fn},
    rt::net::TcpStream,
    web,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{
    access_log, door, headers, routes,
    settings::{Listen, Settings},
};
use crate::registry::Registry;

/// How much may wait in the kernel for a client: beyond it, a slow client's megabytes would lie there, and a chunk would
/// look taken when it is not.
const NOT_SENT: u32 = 128 << 10;
/// A client that acknowledges or reads nothing for this long is gone. Generous: some pause while they unpack.
const UNREAD: Duration = Duration::from_secs(300);
/// From a connection's first byte to the end of its first head.
const FIRST_HEAD: Duration = Duration::from_secs(30);
/// A connection without a request.
const IDLE: Duration = Duration::from_secs(75);
/// A body is asked for more until this much waits to be written: a slow client holds it, and a piece of a body above it.
const WRITE_BUFFER: usize = 16 << 10;
/// Threads a worker may block on the disk: each holds a chunk.
const BLOCKING_THREADS: usize = 16;
const BACKLOG: i32 = 1024;

/// A server that listens already and is not yet answering.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    settings: Settings,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// As the operating system refuses it.
    pub fn bind(settings: Settings) -> io::Result<Self> {
        let listener = match &settings.listen {
            Listen::Tcp { host: None, port } => Listener::Tcp(listen_everywhere(*port)?),
            Listen::Tcp { host: Some(host), port } => Listener::Tcp(listen_on(host, *port)?),
            Listen::Unix(path) => Listener::Unix(listen_at(path)?),
        };
        Ok(Self { listener, settings })
    }

    /// Where it listens: a URL, or a socket's path.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<String> {
        match &self.listener {
            Listener::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Listener::Unix(listener) => {
                let path = listener.local_addr()?.as_pathname().map(|path| path.display().to_string());
                Ok(format!("unix:{}", path.unwrap_or_default()))
            }
        }
    }

    /// Whether other machines may reach it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()),
            Listener::Unix(_) => false,
        }
    }

    /// Answers until `shutdown` ends, then lets requests under way finish for a few seconds.
    ///
    /// # Errors
    /// When the workers cannot be started.
    pub async fn run(
        self,
        registry: Arc<Registry>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let state = web::Data::from(registry);
        let logged = self.settings.access_log;
        let drain = self.settings.drain;
        let (guarded, adds_headers) = (self.settings.access.is_some(), !self.settings.headers.is_empty());
        let settings = web::Data::new(self.settings);
        let app = move || {
            let settings = settings.clone();
            let prefix = settings.prefix.clone();
            App::new()
                .app_data(state.clone())
                .app_data(settings)
                .wrap(Condition::new(guarded, from_fn(door::keep)))
                .wrap(Condition::new(adds_headers, from_fn(headers::add_configured)))
                .wrap(Condition::new(logged, from_fn(access_log::write)))
                .configure(|service| routes::configure(service, &prefix))
        };
        let server = HttpServer::new(app)
            .on_connect(|connection: &dyn Any, _| tune(connection))
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(WRITE_BUFFER)
            .client_request_timeout(FIRST_HEAD)
            .keep_alive(IDLE)
            .worker_max_blocking_threads(BLOCKING_THREADS)
            .shutdown_timeout(drain.as_secs())
            .disable_signals();
        let server = match self.listener {
            Listener::Tcp(listener) => server.listen(listener)?,
            Listener::Unix(listener) => server.listen_uds(listener)?,
        };
        let server = server.run();
        let handle = server.handle();
        let stopping = stop(handle, shutdown);
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => ended,
            () = stopping => server.await,
        }
    }
}

async fn stop(server: ServerHandle, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    server.stop(true).await;
}

fn tune(connection: &dyn Any) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    let socket = SockRef::from(stream);
    // A socket that takes none of these still works.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
    let _ = socket.set_tcp_user_timeout(Some(UNREAD));
}

/// A socket that a process before this one left is in the way, and answers nobody.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

/// One socket for both families; IPv4 alone where the kernel has no IPv6.
fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    listen(six, false).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), true),
    })
}

fn listen_on(host: &str, port: u16) -> io::Result<TcpListener> {
    use std::net::ToSocketAddrs;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match listen(address, true) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
