//! A listen address: `[host]:port` with a numeric port, a subset of what Go's `net.Listen` takes: `:5000`,
//! `127.0.0.1:5000`, `[::1]:5000`, `localhost:5000`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// An address to listen on. Displayed as it may be written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None`: every address of this machine, IPv6 and IPv4.
    pub host: Option<Host>,
    /// 0: any free port.
    pub port: u16,
}

/// An IP address, or a name that resolves to some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name to be resolved.
    Name(String),
}

impl ListenAddress {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits)?;
        Some(Self { host: if host.is_empty() { None } else { Some(Host::parse(host)?) }, port })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into()));
        }
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match text.parse() {
            Ok(IpAddr::V4(ip)) => Some(Self::Ip(ip.into())),
            _ => text.bytes().all(in_name).then(|| Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(Host::Name(name)) => write!(f, "{name}:{}", self.port),
            Some(Host::Ip(IpAddr::V4(ip))) => write!(f, "{ip}:{}", self.port),
            Some(Host::Ip(IpAddr::V6(ip))) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for good in [":5000", "0.0.0.0:443", "[::1]:5000", "[::]:0", "localhost:5000", "registry.example:65535"] {
            assert_eq!(ListenAddress::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(ListenAddress::parse(":5000"), Some(ListenAddress { host: None, port: 5000 }));
        let loopback = ListenAddress::parse("127.0.0.1:1").unwrap();
        assert_eq!(loopback.host, Some(Host::Ip([127, 0, 0, 1].into())));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in ["", "5000", ":", ":65536", ":+80", ":http", "::1:5000", "[::1]", "[::1:5000", "a b:1", "http://a:1"]
        {
            assert_eq!(ListenAddress::parse(bad), None, "{bad}");
        }
    }
}
