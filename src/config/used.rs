//! The keys that have an effect here, a constant each: what reads one cannot misspell it.

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
pub(super) const AUTH: Key = used("auth", Opaque, "", "Who may come in; so far, nobody or everybody.");
pub(super) const HTPASSWD_REALM: Key = used("auth.htpasswd.realm", Text, "", "The name that clients are shown.");
pub(super) const HTPASSWD_PATH: Key =
    used("auth.htpasswd.path", Path, "", "The file of users; so far only a directory will do, which lets nobody in.");

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
pub(super) const HTTP_METRICS: Key =
    used("http.metrics", Flag, "false", "Whether `http.addr` shows metrics too, at /metrics; ours.");

// proxy
pub(super) const PROXY_ENABLED: Key =
    used("proxy.enabled", Flag, "true", "Whether it is a mirror at all; otherwise it is a registry only; ours.");
pub(super) const PROXY_REMOTEURL: Key =
    used("proxy.remoteurl", Url, "https://registry-1.docker.io", "The registry that is mirrored as docker.io.");
pub(super) const PROXY_USERNAME: Key = used("proxy.username", Text, "", "The user to be there.");
pub(super) const PROXY_PASSWORD: Key =
    Key { secret: true, ..used("proxy.password", Text, "", "That user's password.") };
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

// Lists
pub(super) const CATALOG_MAXENTRIES: Key =
    used("catalog.maxentries", Integer, "1000", "How many repositories a page of the catalog holds at most.");
pub(super) const TAGS_MAXTAGS: Key =
    used("tags.maxtags", Integer, "1000", "How many tags a page of a tag list holds at most.");

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

/// An entry with an effect.
pub(super) const fn used(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, effect: Used, secret: false, doc }
}
