//! Binds TCP and Unix listeners. Accepting connections is the job of `accept`.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{http::settings::BindAddress, lanes::Blocking};

const BACKLOG: i32 = 1024;

#[derive(Debug)]
pub(in crate::http) enum BoundListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl BoundListener {
    /// # Errors
    /// The operating system's error if the address cannot be bound.
    pub(in crate::http) fn bind(io: &Blocking, listen: &BindAddress) -> io::Result<Self> {
        Ok(match listen {
            BindAddress::Tcp { host: None, port } => Self::Tcp(listen_everywhere(*port)?),
            BindAddress::Tcp { host: Some(host), port } => Self::Tcp(listen_on(host, *port)?),
            BindAddress::Unix(path) => Self::Unix(listen_at(io, path)?),
        })
    }

    /// Returns the URL or the socket's path that it listens on.
    ///
    /// # Errors
    /// The operating system's error if the local address cannot be read.
    pub(in crate::http) fn address(&self, scheme: &str) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("{scheme}://{}", listener.local_addr()?)),
            Self::Unix(listener) => {
                let path = listener.local_addr()?.as_pathname().map(|path| path.display().to_string());
                Ok(format!("unix:{}", path.unwrap_or_default()))
            }
        }
    }

    /// Returns true if other machines may reach it.
    pub(in crate::http) fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| !address.ip().is_loopback()),
            Self::Unix(_) => false,
        }
    }
}

/// Binds a Unix socket, and first removes one that a previous process left and that refuses connections.
fn listen_at(_io: &Blocking, path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

/// Binds one socket for both families, or IPv4 only if the kernel has no IPv6.
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
