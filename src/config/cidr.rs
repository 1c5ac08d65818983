//! IP networks in CIDR notation (`10.0.0.0/8`, `fd00::/8`) or single addresses (`192.0.2.1`), for
//! `http.trustedproxies`.

use std::{fmt, net::IpAddr, str::FromStr};

/// A network, or a single address. An IPv4-mapped IPv6 network (`::ffff:10.0.0.0/104`) becomes the IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    /// The prefix length in bits.
    prefix: u8,
}

impl Cidr {
    /// Returns whether the network contains `address`. An IPv4-mapped IPv6 address is matched as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }

    /// Converts an IPv4-mapped IPv6 network to the IPv4 network (RFC 4291, section 2.5.5.2).
    fn canonical(self) -> Result<Self, &'static str> {
        const MAPPED_PREFIX: u8 = 96;
        match (self.address, self.address.to_canonical()) {
            (IpAddr::V6(_), address @ IpAddr::V4(_)) => {
                let prefix = self.prefix.checked_sub(MAPPED_PREFIX);
                let prefix = prefix.ok_or("an IPv4-mapped network of at least 96 bits; write IPv4 as 10.0.0.0/8")?;
                Ok(Self { address, prefix })
            }
            _ => Ok(self),
        }
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an address or a network such as 10.0.0.0/8 or fd00::/8";
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| EXPECTED)?;
        if prefix > most { Err(EXPECTED) } else { Self { address, prefix }.canonical() }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn holds_what_begins_with_its_bits() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1") && holds("::/0", "::1"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(holds("10.0.0.0/9", "10.127.0.1") && !holds("10.0.0.0/9", "10.128.0.1"));
    }

    /// Client addresses are matched as IPv4 if they are IPv4-mapped; so are networks.
    #[test]
    fn an_ipv4_mapped_network_is_the_ipv4_network() {
        assert!(holds("::ffff:10.0.0.0/104", "10.255.0.1") && !holds("::ffff:10.0.0.0/104", "11.0.0.1"));
        assert!(holds("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
        assert!(holds("::ffff:192.0.2.1", "192.0.2.1") && !holds("::ffff:192.0.2.1", "192.0.2.2"));
        assert!(holds("::ffff:0:0/96", "1.2.3.4") && !holds("::ffff:0:0/96", "::1"));
        assert_eq!("::ffff:10.0.0.0/104".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
        let error = "::ffff:10.0.0.0/95".parse::<Cidr>().unwrap_err();
        assert!(error.contains("10.0.0.0/8") && error.contains("96"), "{error}");
    }

    #[test]
    fn refuses_the_rest() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1", "10.0.0.0/", "1.2.3.4:80"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
