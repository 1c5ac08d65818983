//! The domain of an image reference: `docker.io` in `docker.io/library/ubuntu`.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

/// A registry's name in image references: a host with an optional port, in lower case (distribution's reference
/// grammar, `domain`). The Hub's three names become one: `docker.io`.
///
/// Safe as a single path component: it has no `/`, and is never `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// The string is not a host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a registry is named by its host, with :port where it needs one")]
pub struct InvalidDomain;

impl Domain {
    /// Docker Hub.
    #[must_use]
    pub fn docker_hub() -> Self {
        Self("docker.io".into())
    }

    /// Returns whether a name is valid only within a machine or its network: a loopback address, or a host without a
    /// dot.
    #[must_use]
    pub fn is_local(text: &str) -> bool {
        if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return has_port && address.parse().is_ok_and(|address: Ipv6Addr| address.to_canonical().is_loopback());
        }
        let Ok(Self(name)) = text.parse() else { return false };
        let host = name.split(':').next().unwrap_or_default();
        match host.parse::<Ipv4Addr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => !host.contains('.') || host.ends_with(".localhost"),
        }
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let text = text.to_ascii_lowercase();
        if matches!(text.as_str(), "docker.io" | "index.docker.io" | "registry-1.docker.io") {
            return Ok(Self::docker_hub());
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((&text, "0"));
        if text.len() > 255 || !is_port(port) || !host.split('.').all(is_label) {
            return Err(InvalidDomain);
        }
        Ok(Self(text.into()))
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_has_one_name() {
        for alias in ["docker.io", "index.docker.io", "registry-1.docker.io", "Docker.IO"] {
            assert_eq!(alias.parse::<Domain>().unwrap(), Domain::docker_hub());
        }
    }

    #[test]
    fn a_local_name_means_nothing_elsewhere() {
        for local in [
            "localhost",
            "LOCALHOST:5001",
            "registry.localhost:5000",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:5000",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
            "registry:5000",
            "k3d-registry",
        ] {
            assert!(Domain::is_local(local), "{local}");
        }
        for other in [
            "",
            "ghcr.io",
            "docker.io",
            "10.0.0.1:5000",
            "registry.example",
            "[2001:db8::1]:5000",
            "[::1]x",
            "[::1]:",
            "::1",
            "localhost.example",
            "a/b",
            "localhost.",
            "localhost:",
        ] {
            assert!(!Domain::is_local(other), "{other}");
        }
    }

    #[test]
    fn a_domain_is_a_safe_path_component() {
        for good in ["ghcr.io", "localhost", "127.0.0.1:5000", "registry.example:443"] {
            assert_eq!(good.parse::<Domain>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a..b", "-a", "a:", "a:b", "a:123456", "http://a", "a b", "a%2fb"] {
            assert_eq!(bad.parse::<Domain>(), Err(InvalidDomain), "{bad}");
        }
    }
}
