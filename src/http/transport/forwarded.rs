//! Proxy headers (`Forwarded`, `X-Forwarded-*`): determines the client's address and the host that it used, and trusts
//! only the proxies in `http.trustedproxies`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::{
    HttpRequest,
    http::{
        header::{self, HeaderMap, HeaderName},
        uri::Authority,
    },
};

use crate::{config::Cidr, http::context};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the client's address, for limits and logs. Clients of a Unix socket have the loopback address.
#[must_use]
pub fn client_address(request: &HttpRequest) -> IpAddr {
    let (peer, trusted) = (peer(request), &context::settings(request).trusted_proxies);
    if !is_among(trusted, peer) {
        return peer;
    }
    Forwarded::read(request.headers()).client(peer, trusted)
}

/// Returns the client's address as text, with its port if the client itself is connected.
pub(in crate::http) fn client_with_port(request: &HttpRequest) -> String {
    let (client, connected) = (client_address(request), request.peer_addr());
    let own = connected.filter(|connected| connected.ip().to_canonical() == client);
    own.map_or_else(|| client.to_string(), |own| SocketAddr::new(client, own.port()).to_string())
}

/// Returns true if the request comes from a trusted proxy.
pub(in crate::http) fn is_proxy(request: &HttpRequest) -> bool {
    is_among(&context::settings(request).trusted_proxies, peer(request))
}

/// Returns the scheme and authority that the client used, from this connection or from trusted proxies. Without
/// `http.trustedproxies`, any client's headers are used, as in `registry:2`: only the client's own response depends on
/// them, and no cached one.
pub(in crate::http) fn called(request: &HttpRequest) -> (String, String) {
    let settings = context::settings(request);
    let own_scheme = if settings.tls.is_some() { "https" } else { "http" };
    if settings.trusted_proxies.is_empty() {
        let connection = request.connection_info();
        // If a proxy states the scheme, that overrides the scheme of this connection.
        let stated = [header::FORWARDED, X_FORWARDED_PROTO].iter().any(|name| request.headers().contains_key(name));
        let scheme = if own_scheme == "https" && !stated { own_scheme } else { connection.scheme() };
        return (scheme.to_owned(), connection.host().to_owned());
    }
    let forwarded = Forwarded::read(request.headers());
    let hop = forwarded.outermost(peer(request), &settings.trusted_proxies).0;
    let (scheme, host) = hop.map_or((None, None), |hop| (hop.scheme, hop.host.clone()));
    (scheme.unwrap_or(own_scheme).to_owned(), host.unwrap_or_else(|| own_host(request)))
}

fn peer(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().as_ref().map_or(Ipv4Addr::LOCALHOST.into(), SocketAddr::ip);
    peer.to_canonical()
}

/// Returns the request's own authority: `Host`, or `:authority` in HTTP/2.
fn own_host(request: &HttpRequest) -> String {
    let host = context::header(request, &header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    host.unwrap_or_else(|| request.app_config().host()).to_owned()
}

fn is_among(trusted: &[Cidr], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The proxies' records, the nearest proxy last: `Forwarded` (RFC 7239), or the older `X-Forwarded-*`.
#[derive(Debug, Default)]
pub struct Forwarded {
    hops: Vec<Hop>,
}

/// The record of one proxy.
#[derive(Debug, Default)]
struct Hop {
    /// The address of the proxy's client; `None` if it is hidden or invalid.
    address: Option<IpAddr>,
    /// The requested host, perhaps with a port.
    host: Option<String>,
    scheme: Option<&'static str>,
}

impl Forwarded {
    /// Reads the records from a request's headers; malformed ones are ignored.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let standard = items(headers, &header::FORWARDED);
        if headers.contains_key(X_FORWARDED_FOR) || standard.is_empty() {
            let x_forwarded = [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];
            return Self::x_forwarded(x_forwarded.map(|name| items(headers, &name)));
        }
        Self { hops: standard.into_iter().map(Hop::of).collect() }
    }

    /// Not every proxy adds to all three lists. They are aligned at their near ends, and the first item of a shorter
    /// list applies to all hops before it.
    fn x_forwarded<'a>([addresses, hosts, schemes]: [Vec<&'a str>; 3]) -> Self {
        let length = addresses.len().max(1);
        let index = |list: &[&str], place: usize| (list.len() + place).saturating_sub(length);
        let of = |list: &[&'a str], place: usize| list.get(index(list, place)).copied();
        let hop = |place| Hop {
            address: addresses.get(place).copied().and_then(address),
            host: of(&hosts, place).and_then(host),
            scheme: of(&schemes, place).and_then(scheme),
        };
        Self { hops: (0..length).map(hop).collect() }
    }

    /// Returns the client's address: the nearest address that is not a trusted proxy. Records beyond it may be forged.
    #[must_use]
    pub fn client(&self, peer: IpAddr, trusted: &[Cidr]) -> IpAddr {
        self.outermost(peer, trusted).1
    }

    /// Returns the record of the farthest trusted proxy, and the farthest known address.
    fn outermost(&self, peer: IpAddr, trusted: &[Cidr]) -> (Option<&Hop>, IpAddr) {
        let (mut written, mut client) = (None, peer);
        for hop in self.hops.iter().rev() {
            if !is_among(trusted, client) {
                break;
            }
            written = Some(hop);
            let Some(address) = hop.address else { break };
            client = address;
        }
        (written, client)
    }
}

impl Hop {
    /// Parses an element of `Forwarded` (RFC 7239, section 4).
    fn of(element: &str) -> Self {
        let pairs = || element.split(';').filter_map(|pair| pair.trim().split_once('='));
        let value = |wanted: &str| {
            let found = pairs().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim().trim_matches('"'))
        };
        Self {
            address: value("for").and_then(address),
            host: value("host").and_then(host),
            scheme: value("proto").and_then(scheme),
        }
    }
}

/// Returns the items of a list header, which may span several lines.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    // An item that is not UTF-8 still counts, so that the others keep their positions.
    let text = |item| str::from_utf8(item).unwrap_or_default().trim();
    headers.get_all(name).flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(text).collect()
}

/// Parses an address, optionally with a port; IPv6 optionally in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// Parses a host, optionally with a port, without characters that would end it within a URL.
fn host(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn who(peer: &str, lines: &[(HeaderName, &'static str)]) -> String {
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Forwarded::read(&headers).client(peer.parse().unwrap(), &trusted).to_string()
    }

    #[test]
    fn an_untrusted_client_has_its_own_address() {
        assert_eq!(who("192.0.2.1", &[(X_FORWARDED_FOR, "10.1.1.1")]), "192.0.2.1");
        assert_eq!(who("192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn the_client_is_the_last_untrusted_address() {
        for (line, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("6.6.6.6,192.0.2.1 , 10.0.0.2,10.0.0.3", "192.0.2.1"),
            ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
            ("6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("", "127.0.0.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(who("127.0.0.1", &[(X_FORWARDED_FOR, line)]), expected, "{line}");
        }
        let (mut headers, trusted) = (HeaderMap::new(), ["127.0.0.1/32".parse().unwrap()]);
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 192.0.2.1").unwrap());
        let client = Forwarded::read(&headers).client("127.0.0.1".parse().unwrap(), &trusted);
        assert_eq!(client.to_string(), "192.0.2.1", "what a client sends hides nobody");
        let lines = [(X_FORWARDED_FOR, "6.6.6.6"), (X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(who("10.0.0.1", &lines), "192.0.2.1", "several lines are one list");
    }

    #[test]
    fn reads_forwarded() {
        for (line, expected) in [
            ("for=192.0.2.1;proto=https", "192.0.2.1"),
            ("for=6.6.6.6, For=\"[2001:db8::1]:99\";by=10.0.0.1", "2001:db8::1"),
            ("for=6.6.6.6, for=_hidden", "127.0.0.1"),
            ("proto=https", "127.0.0.1"),
        ] {
            assert_eq!(who("127.0.0.1", &[(header::FORWARDED, line)]), expected, "{line}");
        }
        let both = [(header::FORWARDED, "for=6.6.6.6"), (X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(who("127.0.0.1", &both), "192.0.2.1");
    }

    fn called(lines: &[(HeaderName, &'static str)]) -> String {
        let (mut headers, trusted) = (HeaderMap::new(), ["10.0.0.0/8".parse().unwrap()]);
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        let forwarded = Forwarded::read(&headers);
        let hop = forwarded.outermost("10.0.0.1".parse().unwrap(), &trusted).0;
        let (scheme, host) = hop.map_or((None, None), |hop| (hop.scheme, hop.host.clone()));
        format!("{} {}", scheme.unwrap_or("-"), host.as_deref().unwrap_or("-"))
    }

    #[test]
    fn the_host_comes_from_the_farthest_trusted_proxy() {
        let (client, host, proto) = (X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO);
        for (lines, expected) in [
            (vec![], "- -"),
            (vec![(proto.clone(), "https")], "https -"),
            (vec![(proto.clone(), "HTTPS"), (host.clone(), "r.test:8443")], "https r.test:8443"),
            (vec![(client.clone(), "6.6.6.6"), (host.clone(), "evil.test, r.test")], "- r.test"),
            (vec![(client.clone(), "6.6.6.6, 10.0.0.2"), (proto.clone(), "https, http")], "https -"),
            (vec![(client.clone(), "6.6.6.6, 10.0.0.2"), (proto.clone(), "https")], "https -"),
            (vec![(client.clone(), "10.0.0.9, 6.6.6.6"), (proto.clone(), "https, http")], "http -"),
            (vec![(client.clone(), "6.6.6.6"), (proto.clone(), "ftp"), (host.clone(), "a/b@c")], "- -"),
            (vec![(header::FORWARDED, "for=6.6.6.6;host=r.test;proto=https")], "https r.test"),
            (vec![(header::FORWARDED, "host=evil.test, for=6.6.6.6; Host=\"r.test:1\"")], "- r.test:1"),
            (vec![(header::FORWARDED, "for=6.6.6.6;proto=https, for=10.0.0.2;proto=http")], "https -"),
        ] {
            assert_eq!(called(&lines), expected, "{lines:?}");
        }
    }
}
