//! The HTTP server's settings: the part of the configuration that only this module uses.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::{access::Access, config::Cidr, notifications::Notifier, oci::Domain};

/// An address to listen on.
#[derive(Clone, Debug)]
pub enum BindAddress {
    /// A TCP port on one host, or on all addresses of both families; port 0 selects a free one.
    Tcp {
        /// The host; `None` means all addresses.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket with this path.
    Unix(PathBuf),
}

/// The settings of one listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on.
    pub listen: BindAddress,
    /// The mirror listener's address, if it has one.
    pub mirror: Option<BindAddress>,
    /// The listener that these settings apply to.
    pub listener: Listener,
    /// TLS on every TCP listener; `None` serves plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The limits for each client.
    pub limits: RequestLimits,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Cidr>,
    /// Enables the access log.
    pub access_log: bool,
    /// Serves metrics beside the API.
    pub metrics: bool,
    /// The time that requests in progress get to finish during a shutdown.
    pub drain: Duration,
    /// The prefix of the API's paths: `/`, or `/some/path/`.
    pub prefix: String,
    /// Headers to add to every response.
    pub headers: Vec<(String, String)>,
    /// Omits scheme and host from `Location` and `Link`. Otherwise they repeat the host that the client used.
    pub relative_urls: bool,
    /// Names of this server, each with the registry that requests to it mean.
    pub hosts: Vec<(Domain, Domain)>,
    /// The origin in absolute URLs, for example `https://registry.example`; `None` uses the client's.
    pub host: Option<String>,
    /// The access rules; `None` allows everybody everything.
    pub access: Option<Arc<Access>>,
    /// Notes events for the receivers of notifications; `None` without any.
    pub notifier: Option<Arc<Notifier>>,
    /// Records pulls in the audit log.
    pub audit_pulls: bool,
    /// The most entries on a page of `_catalog`.
    pub catalog_max: usize,
    /// The most entries on a page of `tags/list`.
    pub tags_max: usize,
}

impl Settings {
    /// Defaults for a request that reached no configured application, which cannot happen. The listener is the
    /// read-only one; there are no limits.
    pub(super) fn none() -> &'static Self {
        static NONE: LazyLock<Settings> = LazyLock::new(|| Settings {
            listen: BindAddress::Tcp { host: None, port: 0 },
            mirror: None,
            listener: Listener::Mirror,
            tls: None,
            limits: RequestLimits::default(),
            trusted_proxies: Vec::new(),
            access_log: false,
            metrics: false,
            drain: Duration::ZERO,
            prefix: "/".into(),
            headers: Vec::new(),
            relative_urls: true,
            hosts: Vec::new(),
            host: None,
            access: None,
            notifier: None,
            audit_pulls: false,
            catalog_max: 1000,
            tags_max: 1000,
        });
        &NONE
    }
}

/// One of a server's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `http.addr`: the whole API.
    Main,
    /// `http.mirror.addr`: mirrored content only, read-only, without authentication.
    Mirror,
}

/// TLS files and protocol versions.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// PEM: the server's certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// PEM: the CAs of client certificates; if empty, clients need no certificate.
    pub client_cas: Vec<PathBuf>,
    /// Admits clients without a certificate too.
    pub anonymous_clients: bool,
    /// Disables TLS 1.2.
    pub only_1_3: bool,
    /// IANA names of the cipher suites allowed with TLS 1.2; if empty, all supported ones.
    pub cipher_suites: Vec<String>,
    /// Offers HTTP/2.
    pub http2: bool,
}

/// The limits for each client. `None` means unlimited.
#[derive(Clone, Debug, Default)]
pub struct RequestLimits {
    /// Bytes of a pushed manifest.
    pub manifest: Option<usize>,
    /// Bytes of a request's headers, names and values; 128 KiB at most.
    pub headers: Option<usize>,
    /// Requests on one connection.
    pub requests: Option<u64>,
    /// Concurrent connections in total.
    pub connections: Option<u64>,
    /// Concurrent connections of one client address.
    pub per_address: Option<u64>,
    /// The time from a request head's first byte to its last, and for a TLS handshake.
    pub head_time: Option<Duration>,
    /// The longest pause between two chunks of a request body.
    pub body_pause: Option<Duration>,
    /// The longest pause between two chunks of a response that a client reads.
    pub send_pause: Option<Duration>,
    /// Unfinished uploads of one user, or of one address without a user.
    pub uploads: Option<u64>,
    /// Requests per second of one client.
    pub rate: Option<u64>,
}
