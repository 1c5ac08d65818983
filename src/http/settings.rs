//! How this server presents itself: the part of the configuration that only HTTP has a use for.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::{access::Access, config::Network};

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Listen {
    /// A TCP port on one host, or on all addresses of both families; port 0 takes a free one.
    Tcp {
        /// The host; everywhere, where it is `None`.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A socket in the filesystem, of this path.
    Unix(PathBuf),
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: Listen,
    /// Where the mirror's own listener is, if it has one.
    pub mirror: Option<Listen>,
    /// Which of them this is about.
    pub listener: Listener,
    /// TLS, at every address of TCP; plain HTTP, where it is `None`.
    pub tls: Option<TlsSettings>,
    /// What one client may take.
    pub limits: RequestLimits,
    /// Whose `X-Forwarded-For` says who a client is.
    pub trusted_proxies: Vec<Network>,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Whether metrics are served beside the API.
    pub metrics: bool,
    /// How long requests under way may go on after the server was asked to stop.
    pub drain: Duration,
    /// What the API's paths begin with: `/`, or `/some/path/`.
    pub prefix: String,
    /// Headers for every answer.
    pub headers: Vec<(String, String)>,
    /// Whether `Location` and `Link` leave out who this is. Otherwise they name what the client called it.
    pub relative_urls: bool,
    /// What to call this server in absolute URLs, whatever the client called it: `https://registry.example`.
    pub host: Option<String>,
    /// Who may come in, and what they may do; everybody and everything, where it is `None`.
    pub access: Option<Arc<Access>>,
    /// Whether pulls are written to the audit log.
    pub audit_pulls: bool,
    /// Entries on a page of `_catalog`, at most.
    pub catalog_max: usize,
    /// Entries on a page of `tags/list`, at most.
    pub tags_max: usize,
}

impl Settings {
    /// What a request gets that reached no configured application: it cannot happen, and breaks nothing if it does.
    pub(super) fn none() -> &'static Self {
        static NONE: LazyLock<Settings> = LazyLock::new(|| Settings {
            listen: Listen::Tcp { host: None, port: 0 },
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
            host: None,
            access: None,
            audit_pulls: false,
            catalog_max: 1000,
            tags_max: 1000,
        });
        &NONE
    }
}

/// One of a server's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `http.addr`: everything.
    Main,
    /// `http.mirror.addr`: what is mirrored, read-only, without a challenge.
    Mirror,
}

/// What is to be spoken, and where its files are.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// PEM: the server's own certificate, then the chain.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// PEM: who vouches for clients; with none, clients need no certificate.
    pub client_cas: Vec<PathBuf>,
    /// Whether a client may come without a certificate all the same.
    pub anonymous_clients: bool,
    /// No TLS 1.2.
    pub only_1_3: bool,
    /// IANA names of the ciphers allowed with TLS 1.2; all there are, where it is empty.
    pub cipher_suites: Vec<String>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// What one client may take. `None` is no limit.
#[derive(Clone, Debug, Default)]
pub struct RequestLimits {
    /// Bytes of a manifest that is pushed.
    pub manifest: Option<usize>,
    /// Bytes of a request's headers, names and values; 128 KiB at most.
    pub headers: Option<usize>,
    /// Requests on one connection.
    pub requests: Option<u64>,
    /// Connections at once, in all.
    pub connections: Option<u64>,
    /// Connections at once of one client.
    pub per_address: Option<u64>,
    /// From a head's first byte to its last; and for a TLS handshake.
    pub head_time: Option<Duration>,
    /// Between two pieces of a body on its way in.
    pub body_pause: Option<Duration>,
    /// Between two pieces of an answer that a client takes.
    pub send_pause: Option<Duration>,
    /// Uploads that one user, or one address without a user, has begun and not ended.
    pub uploads: Option<u64>,
    /// Requests a second of one client.
    pub rate: Option<u64>,
}
