//! The keys that have an effect, a constant each, so that the compiler checks the spelling of every reference to one.

use super::keys::{
    Effect::{AliasOf, Used},
    Key,
    Kind::{self, Address, Choice, Duration, Flag, Headers, Integer, List, Opaque, Path, Size, Text, Url, UrlPath},
};

const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

pub(super) const VERSION: Key = used("version", Text, "0.1", "The file's format. Every file must name it.");

// log
pub(super) const ACCESSLOG_DISABLED: Key =
    used("log.accesslog.disabled", Flag, "false", "Whether to leave out the line that each request is worth.");
pub(super) const AUDIT_PULLS: Key =
    used("log.audit.pulls", Flag, "false", "Whether the audit log has a line for each pull, too; ours.");
pub(super) const LOG_LEVEL: Key = used("log.level", Choice(&LEVELS), "info", "How much is logged.");
pub(super) const LOGLEVEL: Key =
    Key { effect: AliasOf("log.level"), ..used("loglevel", Choice(&LEVELS), "info", "Old name of `log.level`.") };
pub(super) const LOG_FORMATTER: Key =
    used("log.formatter", Choice(&["text", "json", "logstash"]), "text", "How a log line looks; logstash means json.");

// storage
pub(super) const ROOT_DIRECTORY: Key =
    used("storage.filesystem.rootdirectory", Path, "/var/lib/registry", "The directory that holds everything stored.");
pub(super) const QUOTA: Key = used(
    "storage.quota",
    Size,
    "",
    "What everything stored may come to, in bytes or as a share of the filesystem; unset, mirrored content has 80% of \
     it, and what is pushed all but the headroom; ours.",
);
pub(super) const HEADROOM: Key = used(
    "storage.headroom",
    Size,
    "",
    "What stays free on the filesystem for everybody else; unset, 5% of it, and at most 1GB; ours.",
);
pub(super) const MAXOBJECT: Key = used(
    "storage.maxobject",
    Size,
    "25%",
    "The largest mirrored blob that is kept, in bytes or as a share of what may be stored; ours.",
);
pub(super) const PINNED: Key = used(
    "storage.pinned",
    List,
    "",
    "Patterns of mirrored repositories' names: what they hold is never removed to make room; ours.",
);
pub(super) const LEASE: Key =
    used("storage.lease", Duration, "15m", "How long mirrored content is sure to stay after it was asked for; ours.");
pub(super) const DELETE_ENABLED: Key =
    used("storage.delete.enabled", Flag, "false", "Whether manifests, tags and blobs may be deleted.");
pub(super) const PURGING_ENABLED: Key = used(
    "storage.maintenance.uploadpurging.enabled",
    Flag,
    "true",
    "Whether uploads that nobody finished are removed.",
);
pub(super) const PURGING_AGE: Key = used(
    "storage.maintenance.uploadpurging.age",
    Duration,
    "168h",
    "How long nothing must have happened to an upload before it is removed.",
);
pub(super) const PURGING_INTERVAL: Key =
    used("storage.maintenance.uploadpurging.interval", Duration, "24h", "How often they are looked for.");
pub(super) const PURGING_DRYRUN: Key =
    used("storage.maintenance.uploadpurging.dryrun", Flag, "false", "Whether only to log which would go.");
pub(super) const READONLY_ENABLED: Key =
    used("storage.maintenance.readonly.enabled", Flag, "false", "Whether every push and delete is refused.");

// auth
pub(super) const AUTH: Key = used("auth", Opaque, "", "Who may come in, and what they may do then.");
pub(super) const HTPASSWD_REALM: Key = used("auth.htpasswd.realm", Text, "", "The name that clients are shown.");
pub(super) const HTPASSWD_PATH: Key = used(
    "auth.htpasswd.path",
    Path,
    "",
    "The file of users, their passwords hashed with bcrypt; made if it is missing.",
);
pub(super) const AUTH_GROUPS: Key =
    used("auth.groups", Opaque, "", "Names of groups, each with a list of users; rules name them `group:NAME`; ours.");
pub(super) const AUTH_ACCESS: Key = used(
    "auth.access",
    List,
    "",
    "Rules, each with who (users, group:NAME, anonymous, authenticated), may (pull, push, delete) and where (patterns of \
     repository names). What no rule allows is denied; without rules, every user may do everything; ours.",
);
pub(super) const AUTH_TOKENLIFETIME: Key = used(
    "auth.tokenlifetime",
    Duration,
    "30m",
    "How long a token lives that clients get here where rules let `anonymous` do something; ours.",
);
pub(super) const TOKEN_REALM: Key = used("auth.token.realm", Url, "", "Where clients get a token.");
pub(super) const TOKEN_SERVICE: Key = used("auth.token.service", Text, "", "The name tokens are asked for.");
pub(super) const TOKEN_ISSUER: Key = used("auth.token.issuer", Text, "", "Who must have made them.");
pub(super) const TOKEN_BUNDLE: Key =
    used("auth.token.rootcertbundle", Path, "", "Certificates that vouch for the keys that sign them.");
pub(super) const TOKEN_JWKS: Key = used("auth.token.jwks", Path, "", "Keys that sign them, as a JSON Web Key Set.");
pub(super) const TOKEN_ALGORITHMS: Key = used(
    "auth.token.signingalgorithms",
    List,
    "",
    "How they may be signed, of RS256 to RS512, PS256 to PS512, ES256, ES384 and EdDSA; any of them, if it is empty.",
);
pub(super) const TOKEN_AUTOREDIRECT: Key =
    used("auth.token.autoredirect", Flag, "false", "Whether the realm is on the host that the client asked.");
pub(super) const TOKEN_AUTOREDIRECTPATH: Key =
    used("auth.token.autoredirectpath", Text, "/auth/token/", "Where there it is.");

// http
pub(super) const HTTP_ADDR: Key = used(
    "http.addr",
    Address,
    ":5000",
    "Where to listen; without a host, on every IPv6 and IPv4 address. The socket's path, for `http.net: unix`.",
);
pub(super) const HTTP_NET: Key =
    used("http.net", Choice(&["tcp", "unix"]), "tcp", "What `http.addr` is an address of.");
pub(super) const HTTP_HOST: Key = used(
    "http.host",
    Url,
    "",
    "This registry's address as clients know it, for Location headers; otherwise each request tells.",
);
pub(super) const HTTP_NAMES: Key =
    used("http.names", List, "", "Other hosts that mean this registry itself when a client's `ns` names them; ours.");
pub(super) const HTTP_PREFIX: Key = used("http.prefix", UrlPath, "/", "The path under which `v2/` is served.");
pub(super) const HTTP_RELATIVEURLS: Key =
    used("http.relativeurls", Flag, "false", "Whether Location headers are relative.");
pub(super) const HTTP_DRAINTIMEOUT: Key = used(
    "http.draintimeout",
    Duration,
    "8s",
    "How long a stopping server waits for requests under way; 0 waits for none.",
);
pub(super) const HTTP_HEADERS: Key =
    used("http.headers", Headers, "", "Headers that every answer carries: names, each with a list of values.");

// http.tls
pub(super) const TLS_CERTIFICATE: Key = used(
    "http.tls.certificate",
    Path,
    "",
    "The certificate's file, PEM, the chain after it; with it and its key, HTTPS alone is spoken. Read again on change.",
);
pub(super) const TLS_KEY: Key = used("http.tls.key", Path, "", "Its private key's file.");
pub(super) const TLS_CLIENTCAS: Key =
    used("http.tls.clientcas", List, "", "Files of the authorities that must vouch for every client.");
pub(super) const TLS_CLIENTAUTH: Key = used(
    "http.tls.clientauth",
    Choice(&["require-and-verify-client-cert", "verify-client-cert-if-given"]),
    "require-and-verify-client-cert",
    "For `clientcas`: whether a client may also come without a certificate.",
);
pub(super) const TLS_MINIMUM: Key =
    used("http.tls.minimumtls", Choice(&["tls1.2", "tls1.3"]), "tls1.2", "The oldest version allowed.");
pub(super) const TLS_CIPHERSUITES: Key = used(
    "http.tls.ciphersuites",
    List,
    "",
    "The ciphers allowed with TLS 1.2, by their IANA names; those of TLS 1.3 always are.",
);
pub(super) const HTTP2_DISABLED: Key = used(
    "http.http2.disabled",
    Flag,
    "true",
    "Whether HTTP/2 is never spoken; false offers it to TLS clients. HTTP/1.1 is faster for this work.",
);

// http.mirror and client addresses
pub(super) const MIRROR_ADDR: Key = used(
    "http.mirror.addr",
    Address,
    "",
    "A second address, for what is mirrored alone: read-only, without a password, TLS as on `http.addr`; ours.",
);
pub(super) const TRUSTED_PROXIES: Key = used(
    "http.trustedproxies",
    List,
    "",
    "Addresses and networks of reverse proxies, whose X-Forwarded-* or Forwarded alone then says who the client is and what it \
     called this server; ours.",
);

// http.limits: 0 means no limit, for every key.
pub(super) const LIMIT_MANIFEST: Key =
    used("http.limits.manifest", Size, "4MiB", "The largest manifest that is taken; ours.");
pub(super) const LIMIT_HEADERS: Key =
    used("http.limits.headers", Size, "64KiB", "A request's headers, all together; 128 KiB at most; ours.");
pub(super) const LIMIT_REQUESTS: Key = used(
    "http.limits.requests",
    Integer,
    "100000",
    "Requests on one connection, before it is closed with the last one's answer; ours.",
);
pub(super) const LIMIT_CONNECTIONS: Key = used(
    "http.limits.connections",
    Integer,
    "25000",
    "Connections at once, never more than the process may open files for; ours.",
);
pub(super) const LIMIT_PERADDRESS: Key = used(
    "http.limits.peraddress",
    Integer,
    "2500",
    "Connections at once of one address (IPv6: of one /64); proxies in `http.trustedproxies` are not counted; ours.",
);
pub(super) const LIMIT_HEADTIME: Key =
    used("http.limits.headtime", Duration, "10s", "From a head's first byte to its last, and for TLS to begin; ours.");
pub(super) const LIMIT_BODYPAUSE: Key =
    used("http.limits.bodypause", Duration, "1m", "Between two pieces of a body that a client sends; ours.");
pub(super) const LIMIT_SENDPAUSE: Key = used(
    "http.limits.sendpause",
    Duration,
    "5m",
    "How long a client may take nothing of an answer; some pause while they unpack; ours.",
);
pub(super) const LIMIT_UPLOADS: Key = used(
    "http.limits.uploads",
    Integer,
    "1000",
    "Uploads that one user, or one address without a user, has begun and not ended; ours.",
);
pub(super) const LIMIT_RATE: Key = used(
    "http.limits.rate",
    Integer,
    "10000",
    "Requests a second of one address (IPv6: of one /64), twice as many for a moment; ours.",
);
pub(super) const DEBUG_ADDR: Key = used(
    "http.debug.addr",
    Address,
    "",
    "Where a second door listens, for those who run this: metrics and health, nothing else; none without it.",
);
pub(super) const PROMETHEUS_ENABLED: Key = used(
    "http.debug.prometheus.enabled",
    Flag,
    "true",
    "Whether that door shows metrics; registry:2 shows them only where this is said.",
);
pub(super) const PROMETHEUS_PATH: Key =
    used("http.debug.prometheus.path", UrlPath, "/metrics", "Under which path that door shows metrics.");
pub(super) const HTTP_METRICS: Key = used(
    "http.metrics",
    Flag,
    "false",
    "Whether `http.addr` shows metrics too, at /metrics, to users alone where there are any; ours.",
);

// proxy
pub(super) const PROXY_ENABLED: Key =
    used("proxy.enabled", Flag, "true", "Whether it is a mirror at all; otherwise it is a registry only; ours.");
pub(super) const PROXY_REMOTEURL: Key =
    used("proxy.remoteurl", Url, "https://registry-1.docker.io", "The registry that is mirrored as docker.io.");
pub(super) const PROXY_USERNAME: Key = used("proxy.username", Text, "", "The user to be there.");
pub(super) const PROXY_PASSWORD: Key =
    Key { secret: true, ..used("proxy.password", Text, "", "That user's password.") };
pub(super) const PROXY_REALM: Key = used(
    "proxy.realm",
    Url,
    "",
    "A token service on another domain than the upstream's, which is to be asked and may have the password; ours.",
);
pub(super) const PROXY_REDIRECTS: Key = used(
    "proxy.redirects",
    List,
    "",
    "Hosts, with :port where it matters, that upstreams may redirect to although their addresses are private; ours.",
);
pub(super) const PROXY_PASSWORDFILE: Key =
    used("proxy.passwordfile", Path, "", "A file that holds that password instead, as secrets are mounted; ours.");
pub(super) const PROXY_FRESHNESS: Key =
    used("proxy.freshness", Duration, "1m", "How long a mirrored tag is believed without asking again; ours.");
pub(super) const PROXY_TTL: Key = used(
    "proxy.ttl",
    Duration,
    "0",
    "Mirrored content that nobody asked for in so long is removed; 0 keeps it as long as there is room.",
);
pub(super) const PROXY_PUSH: Key = used(
    "proxy.push",
    Flag,
    "",
    "Whether pushes are taken; true unless `proxy.remoteurl` is set, since such a registry:2 takes none; ours.",
);
pub(super) const PROXY_HOSTED: Key = used(
    "proxy.hosted",
    List,
    "",
    "Patterns of repository names that are this registry's own, never looked for upstream; ours.",
);
pub(super) const PROXY_UNPROVEN: Key = used(
    "proxy.unproven",
    Choice(&["accept", "refuse"]),
    "accept",
    "The first push to a name while the upstream cannot be asked whether it has such a repository: accept, and ask later, or \
     refuse with 503; ours.",
);
pub(super) const PROXY_ADOPT: Key = used(
    "proxy.adopt",
    Choice(&["ask", "cached", "pushed"]),
    "ask",
    "What a volume of registry:2 holds, where `proxy.remoteurl` is set and no scheduler-state.json tells: cached content, which \
     is mirrored from now on, or what was pushed; ask stops the start; ours.",
);

// catalog and tags
pub(super) const CATALOG_MAXENTRIES: Key =
    used("catalog.maxentries", Integer, "1000", "How many repositories a page of the catalog holds at most.");
pub(super) const TAGS_MAXTAGS: Key = used(
    "tags.maxtags",
    Integer,
    "1000",
    "How many tags a page of a tag list holds at most; without `n` there are no pages.",
);

// validation
pub(super) const VALIDATION_ENABLED: Key =
    used("validation.enabled", Flag, "false", "Old opposite of `validation.disabled`; true wins over it.");
pub(super) const VALIDATION_DISABLED: Key =
    used("validation.disabled", Flag, "false", "Whether a pushed manifest may name any URL, and an index anything.");
pub(super) const URLS_ALLOW: Key = used(
    "validation.manifests.urls.allow",
    List,
    "",
    "Regular expressions: a layer's URL must match one. Without `allow` and `deny`, no URL will do.",
);
pub(super) const URLS_DENY: Key =
    used("validation.manifests.urls.deny", List, "", "Regular expressions: a layer's URL must match none.");
pub(super) const MANIFESTS_BLOBS: Key = used(
    "validation.manifests.blobs",
    Choice(&["all", "none"]),
    "all",
    "Which of a pushed manifest's blobs must be here already: all, or none (sparse images).",
);
pub(super) const INDEXES_PLATFORMS: Key = used(
    "validation.manifests.indexes.platforms",
    Choice(&["all", "none", "list"]),
    "all",
    "Which of a pushed index's manifests must be here already.",
);
pub(super) const INDEXES_PLATFORMLIST: Key = used(
    "validation.manifests.indexes.platformlist",
    List,
    "",
    "For `list`: those of these platforms, each with os and architecture; all of them, if it is empty.",
);

// gc
pub(super) const GC_INTERVAL: Key =
    used("gc.interval", Duration, "24h", "How often what nothing reaches is removed; 0 is never; ours.");
pub(super) const GC_GRACE: Key = used(
    "gc.grace",
    Duration,
    "1h",
    "How long what nothing names yet is left alone after it was uploaded, mounted or found by a HEAD; ours.",
);
pub(super) const GC_UNTAGGED: Key =
    used("gc.untagged", Flag, "false", "Whether manifests that no tag reaches are removed, too; ours.");

// verify
pub(super) const VERIFY_INTERVAL: Key =
    used("verify.interval", Duration, "720h", "In how long everything stored is hashed again once; 0 is never; ours.");
pub(super) const VERIFY_RATE: Key =
    used("verify.rate", Size, "50MB", "How many bytes a second are read for that, at most; ours.");

/// A key with an effect.
pub(super) const fn used(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, effect: Used, secret: false, doc }
}
