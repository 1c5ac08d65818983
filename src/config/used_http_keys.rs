//! The keys of the section `http` that have an effect, as those of all others in `used_keys.rs`.

use super::{
    key::{
        Key,
        ValueKind::{Address, Bytes, Choice, Duration, Flag, Headers, Hosts, Integer, List, Path, Size, Url, UrlPath},
    },
    used_keys::used,
};

pub(super) const HTTP_ADDR: Key = used(
    "http.addr",
    Address,
    ":5000",
    "The address to listen on: without a host, all IPv6 and IPv4 addresses. With `http.net: unix`, the socket's \
     path.",
);
pub(super) const HTTP_NET: Key =
    used("http.net", Choice(&["tcp", "unix"]), "tcp", "The kind of address that `http.addr` is.");
pub(super) const HTTP_HOST: Key = used(
    "http.host",
    Url,
    "",
    "This registry's URL as clients know it, for Location headers. Unset: the host of each request.",
);
pub(super) const HTTP_NAMES: Key =
    used("http.names", List, "", "Other hosts that mean this registry itself in a client's `ns`. Extension.");
pub(super) const HTTP_HOSTS: Key = used(
    "http.hosts",
    Hosts,
    "",
    "Names of this server that stand for an upstream each, for clients that cannot say which registry they mean: \
     `{ghcr.mirror.example: ghcr.io}`. Extension.",
);
pub(super) const HTTP_PREFIX: Key = used("http.prefix", UrlPath, "/", "The path below which `v2/` is served.");
pub(super) const HTTP_RELATIVEURLS: Key = used("http.relativeurls", Flag, "false", "Writes relative Location headers.");
pub(super) const HTTP_DRAINTIMEOUT: Key =
    used("http.draintimeout", Duration, "8s", "The time that requests have to finish at shutdown; 0: none.");
pub(super) const HTTP_HEADERS: Key =
    used("http.headers", Headers, "", "Headers of every response: names, each with a list of values.");

// http.tls
pub(super) const TLS_CERTIFICATE: Key = used(
    "http.tls.certificate",
    Path,
    "",
    "The file of the certificate and its chain, in PEM. With it and its key, only HTTPS is served. Read again \
     when it changes.",
);
pub(super) const TLS_KEY: Key = used("http.tls.key", Path, "", "The file of the certificate's private key.");
pub(super) const TLS_CLIENTCAS: Key = used(
    "http.tls.clientcas",
    List,
    "",
    "The files of the authorities that must have signed every client's certificate.",
);
pub(super) const TLS_CLIENTAUTH: Key = used(
    "http.tls.clientauth",
    Choice(&["require-and-verify-client-cert", "verify-client-cert-if-given"]),
    "require-and-verify-client-cert",
    "With `clientcas`: requires a certificate of every client, or checks the given ones only.",
);
pub(super) const TLS_MINIMUM: Key =
    used("http.tls.minimumtls", Choice(&["tls1.2", "tls1.3"]), "tls1.2", "The oldest allowed version of TLS.");
pub(super) const TLS_CIPHERSUITES: Key = used(
    "http.tls.ciphersuites",
    List,
    "",
    "The allowed cipher suites of TLS 1.2, by their IANA names; those of TLS 1.3 are always allowed.",
);
pub(super) const HTTP2_DISABLED: Key = used(
    "http.http2.disabled",
    Flag,
    "true",
    "Does not offer HTTP/2; false offers it to TLS clients. HTTP/1.1 is faster for this work.",
);

// http.mirror and client addresses
pub(super) const MIRROR_ADDR: Key = used(
    "http.mirror.addr",
    Address,
    "",
    "The address of a second listener that serves mirrored content only: read-only, without passwords, with TLS \
     as on `http.addr`. Extension.",
);
pub(super) const TRUSTED_PROXIES: Key = used(
    "http.trustedproxies",
    List,
    "",
    "Addresses and networks of reverse proxies. Set: only their X-Forwarded-* or Forwarded headers tell a \
     client's address and the host that it asked. Extension.",
);

// http.limits: 0 means no limit, for every key.
pub(super) const LIMIT_MANIFEST: Key =
    used("http.limits.manifest", Bytes, "4MiB", "The largest manifest that may be pushed. Extension.");
pub(super) const LIMIT_HEADERS: Key = used(
    "http.limits.headers",
    Size,
    "64KiB",
    "The largest size of a request's headers together, 128 KiB at most. Extension.",
);
pub(super) const LIMIT_REQUESTS: Key = used(
    "http.limits.requests",
    Integer,
    "100000",
    "The most requests on one connection, which is closed after the last response. Extension.",
);
pub(super) const LIMIT_CONNECTIONS: Key = used(
    "http.limits.connections",
    Integer,
    "25000",
    "The most open connections, at most half of the limit of open files. Extension.",
);
pub(super) const LIMIT_PERADDRESS: Key = used(
    "http.limits.peraddress",
    Integer,
    "2500",
    "The most open connections of one address (IPv6: of one /64); proxies in `http.trustedproxies` are not \
     limited. Extension.",
);
pub(super) const LIMIT_HEADTIME: Key = used(
    "http.limits.headtime",
    Duration,
    "10s",
    "The time from a request head's first byte to its last, and for a TLS handshake. Extension.",
);
pub(super) const LIMIT_BODYPAUSE: Key =
    used("http.limits.bodypause", Duration, "1m", "The longest pause between two pieces of a request body. Extension.");
pub(super) const LIMIT_SENDPAUSE: Key = used(
    "http.limits.sendpause",
    Duration,
    "5m",
    "The longest time for which a client may read nothing of a response; some pause while they unpack. Extension.",
);
pub(super) const LIMIT_UPLOADS: Key = used(
    "http.limits.uploads",
    Integer,
    "1000",
    "The most unfinished uploads of one user, or of one address without a user. Extension.",
);
pub(super) const LIMIT_RATE: Key = used(
    "http.limits.rate",
    Integer,
    "10000",
    "The most requests a second of one address (IPv6: of one /64); bursts may have two seconds' worth. Extension.",
);
pub(super) const DEBUG_ADDR: Key = used(
    "http.debug.addr",
    Address,
    "",
    "The address of a second listener, for operators: metrics and health checks only. Unset: no such listener.",
);
pub(super) const PROMETHEUS_ENABLED: Key = used(
    "http.debug.prometheus.enabled",
    Flag,
    "true",
    "Serves metrics on that listener, by default; `registry:2` serves them only if this is set.",
);
pub(super) const PROMETHEUS_PATH: Key =
    used("http.debug.prometheus.path", UrlPath, "/metrics", "The path of the metrics on that listener.");
pub(super) const HTTP_METRICS: Key = used(
    "http.metrics",
    Flag,
    "false",
    "Serves metrics on `http.addr`, too, at /metrics; with `auth`, to users only. Extension.",
);
