//! The policy for the addresses that a redirect may lead to (law 10 of ARCHITECTURE.md).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// A set of address classes that may be connected to, in addition to public addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressPolicy(u8);

impl AddressPolicy {
    /// Public addresses only.
    pub(super) const PUBLIC: Self = Self(0);
    /// Every address: for hosts that the operator configured.
    pub(super) const ANYWHERE: Self = Self(!0);
    const LOOPBACK: Self = Self(1);
    const LINK_LOCAL: Self = Self(2);
    const PRIVATE: Self = Self(4);
    /// Unspecified, multicast and reserved addresses: no upstream's redirect may lead there.
    const NEVER: Self = Self(8);

    /// Returns the policy for the redirects of an upstream that has these `addresses`.
    pub(super) fn of_upstream(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let all = addresses.into_iter().fold(0, |all, address| all | Self::class(address.ip()).0);
        Self(all & !Self::NEVER.0)
    }

    /// Returns whether the policy allows the class of `address`.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        Self::class(address).0 & !self.0 == 0
    }

    /// Returns whether the policy allows a name that always means this machine.
    pub(super) fn allows_name(self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let local = host == "localhost" || host.ends_with(".localhost");
        !local || self.0 & Self::LOOPBACK.0 != 0
    }

    fn class(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => class_v4(address),
            IpAddr::V6(address) => class_v6(address),
        }
    }
}

fn class_v4(address: Ipv4Addr) -> AddressPolicy {
    match address.octets() {
        [127, ..] => AddressPolicy::LOOPBACK,
        [169, 254, ..] => AddressPolicy::LINK_LOCAL,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => {
            AddressPolicy::PRIVATE
        }
        [0 | 224.., ..] | [192, 0, 0, _] => AddressPolicy::NEVER,
        _ => AddressPolicy::PUBLIC,
    }
}

fn class_v6(address: Ipv6Addr) -> AddressPolicy {
    if let Some(inner) = embedded(address) {
        return class_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressPolicy::LOOPBACK,
        [0xfe80..=0xfebf, ..] => AddressPolicy::LINK_LOCAL,
        // Unique local (RFC 4193), site-local, and local NAT64 (RFC 8215), which leads into this network.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => AddressPolicy::PRIVATE,
        // Teredo (RFC 4380) leads to the address that it embeds.
        [0 | 0xff00.., ..] | [0x2001, 0, ..] => AddressPolicy::NEVER,
        _ => AddressPolicy::PUBLIC,
    }
}

/// Returns the IPv4 address that an IPv6 address embeds: mapped, NAT64 or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Returns the host without the brackets of an IPv6 literal, as a resolver expects it.
pub(super) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Returns the policy for the redirects of `url`'s host: public addresses only, if it is not or cannot be resolved
/// here.
pub(super) async fn of_host(url: &Url, resolve: bool) -> AddressPolicy {
    let port = url.port_or_known_default().unwrap_or(0);
    match url.host() {
        Some(Host::Ipv4(address)) => AddressPolicy::of_upstream([(address, port).into()]),
        Some(Host::Ipv6(address)) => AddressPolicy::of_upstream([(address, port).into()]),
        Some(Host::Domain(name)) if resolve => {
            tokio::net::lookup_host((name, port)).await.map_or(AddressPolicy::PUBLIC, AddressPolicy::of_upstream)
        }
        _ => AddressPolicy::PUBLIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: AddressPolicy, address: &str) -> bool {
        policy.allows(address.parse().unwrap())
    }

    #[test]
    fn the_public_reach_holds_public_addresses_only() {
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(allows(AddressPolicy::PUBLIC, public), "{public}");
        }
        for other in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "64:ff9b:1::a00:1",
            "2001:0:a00:1::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
        ] {
            assert!(!allows(AddressPolicy::PUBLIC, other), "{other}");
            assert!(allows(AddressPolicy::ANYWHERE, other), "{other}");
        }
    }

    #[test]
    fn an_upstream_opens_its_own_class_only() {
        let local = AddressPolicy::of_upstream(["127.0.0.1:80".parse().unwrap()]);
        assert!(allows(local, "::1") && allows(local, "1.1.1.1"));
        assert!(!allows(local, "10.0.0.1") && !allows(local, "169.254.169.254"));
        assert!(!AddressPolicy::PUBLIC.allows_name("a.localhost") && !AddressPolicy::PUBLIC.allows_name("localhost."));
        assert!(local.allows_name("localhost"));
        let special = AddressPolicy::of_upstream(["0.0.0.0:80".parse().unwrap()]);
        assert!(!allows(special, "0.0.0.0"));
    }
}
