//! Who a client is, by address: the connection's other end, or whom a trusted proxy names (`http.trustedproxies`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap, HeaderName},
};

use super::extract;
use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client: what counts against limits, and what logs say. Who comes through a socket in the filesystem
/// is on this machine.
#[must_use]
pub fn client_address(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().as_ref().map_or(Ipv4Addr::LOCALHOST.into(), SocketAddr::ip);
    behind(peer.to_canonical(), request.headers(), &extract::settings(request).trusted_proxies)
}

/// From the near end of the chain of proxies to the first that is not trusted: what that one says may be invented.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    for hop in hops(headers).iter().rev() {
        let Some(address) = hop else { break };
        client = *address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// The addresses that were noted on the way, the nearest last; `None` where one is hidden or no address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let items = |name: HeaderName| {
        let values: Vec<&str> = headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
        values.into_iter().flat_map(|value| value.split(',')).map(str::trim)
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        return items(X_FORWARDED_FOR).map(address).collect();
    }
    items(header::FORWARDED).map(|item| address(forwarded_for(item)?)).collect()
}

/// `for=` of an element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value.trim_matches('"'))
}

/// An address, perhaps with a port, IPv6 perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
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
        behind(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_who_he_is() {
        assert_eq!(who("192.0.2.1", &[(X_FORWARDED_FOR, "10.1.1.1")]), "192.0.2.1");
        assert_eq!(who("192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn a_proxy_names_who_is_before_the_trusted_ones() {
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
}
