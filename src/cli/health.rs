//! `entrepot health`: checks if the server with this configuration answers. For health checks in images without curl,
//! such as Entrepot's own.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{ConfigArguments, Failure, own_certificate, print_line};
use crate::{
    config::{Host, Http, Listen, ListenAddress},
    lanes::Blocking,
};

/// The timeout for connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of the response that are read: its first line.
const MAX_LINE_BYTES: usize = 256;
/// A server that refuses the connection for this reason is running, and has shown its certificate.
const WANTED: &str = "alive; it tells more only to those who have a certificate (http.tls.clientcas)";

pub(super) fn run(io: &Blocking, source: ConfigArguments) -> Result<(), Failure> {
    let config = source.load(io)?.config;
    let address = config.http.addr.to_string();
    let said = match ask(&config.http) {
        Ok(line) if line.split(' ').nth(1) == Some("200") => line,
        Ok(line) => return Err(Failure::failed(format!("{address}: {line}"))),
        Err(error) if own_certificate::is_wanted(&error) => WANTED.to_owned(),
        Err(error) => return Err(Failure::failed(format!("{address}: {error}"))),
    };
    print_line(&mut io::stdout(), &format!("{address}: {said}"));
    Ok(())
}

/// Returns the first line of the response.
fn ask(http: &Http) -> io::Result<String> {
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    match (http.addr.value(), &http.tls) {
        (Listen::Unix(path), _) => exchange(unix(path)?, request),
        (Listen::Tcp(address), None) => exchange(tcp(address)?, request),
        (Listen::Tcp(address), Some(tls)) => {
            exchange(own_certificate::connect(tcp(address)?, tls.certificate.value())?, request)
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MAX_LINE_BYTES && stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn unix(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Connects to the first address that accepts.
fn tcp(address: &ListenAddress) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("there is no such address");
    for candidate in addresses(address)? {
        match TcpStream::connect_timeout(&candidate, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Returns the addresses to try: the loopback ones for a server that listens on all addresses.
fn addresses(address: &ListenAddress) -> io::Result<Vec<SocketAddr>> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port));
    Ok(match &address.host {
        None => vec![v4, v6],
        Some(Host::Ip(IpAddr::V4(ip))) if ip.is_unspecified() => vec![v4],
        Some(Host::Ip(IpAddr::V6(ip))) if ip.is_unspecified() => vec![v6, v4],
        Some(Host::Ip(ip)) => vec![SocketAddr::from((*ip, address.port))],
        Some(Host::Name(name)) => (name.as_str(), address.port).to_socket_addrs()?.collect(),
    })
}
