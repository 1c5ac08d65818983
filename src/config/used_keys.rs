//! The keys that have an effect, a constant each, so that the compiler checks the spelling of every reference to one.

use super::key::{
    Effect::{AliasOf, Used},
    Key,
    ValueKind::{self, Bytes, Choice, Duration, Flag, Integer, List, Opaque, Path, Share, Size, Text, Url},
};

const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

pub(super) const VERSION: Key =
    used("version", Text, "0.1", "The version of the file's format. Every file must name it.");

// log
pub(super) const ACCESSLOG_DISABLED: Key =
    used("log.accesslog.disabled", Flag, "false", "Writes no access log, which has a line for each request.");
pub(super) const AUDIT_PULLS: Key =
    used("log.audit.pulls", Flag, "false", "Writes pulls to the audit log, too. Extension.");
pub(super) const LOG_LEVEL: Key = used("log.level", Choice(&LEVELS), "info", "The least severe level that is logged.");
pub(super) const LOGLEVEL: Key =
    Key { effect: AliasOf("log.level"), ..used("loglevel", Choice(&LEVELS), "info", "Old name of `log.level`.") };
pub(super) const LOG_FORMATTER: Key = used(
    "log.formatter",
    Choice(&["text", "json", "logstash"]),
    "text",
    "The format of a log line; logstash is written as json.",
);

// storage
pub(super) const ROOT_DIRECTORY: Key =
    used("storage.filesystem.rootdirectory", Path, "/var/lib/registry", "The data directory.");
pub(super) const QUOTA: Key = used(
    "storage.quota",
    Size,
    "",
    "The limit of everything stored, in bytes or as a share of the filesystem. Unset: mirrored content is limited \
     to 80% of the filesystem, pushed content by the headroom alone. Extension.",
);
pub(super) const HEADROOM: Key = used(
    "storage.headroom",
    Size,
    "",
    "The space that stays free on the filesystem. Unset: 5% of it, and at most 1GB. Extension.",
);
pub(super) const MAXOBJECT: Key = used(
    "storage.maxobject",
    Size,
    "25%",
    "The largest mirrored blob that is cached, in bytes or as a share of the limit of everything stored. \
     Extension.",
);
pub(super) const PINNED: Key = used(
    "storage.pinned",
    List,
    "",
    "Patterns of mirrored repositories' names: their content is never evicted. Extension.",
);
pub(super) const LEASE: Key = used(
    "storage.lease",
    Duration,
    "15m",
    "The time after its last use in which mirrored content is not evicted. Extension.",
);
pub(super) const MEMORY: Key = used(
    "storage.memory",
    Bytes,
    "64MB",
    "The memory for manifests that were served, one half, and for pages of the index. At least 16MB. Extension.",
);
pub(super) const DELETE_ENABLED: Key =
    used("storage.delete.enabled", Flag, "false", "Allows manifests, tags and blobs to be deleted.");
pub(super) const PURGING_ENABLED: Key =
    used("storage.maintenance.uploadpurging.enabled", Flag, "true", "Removes abandoned uploads.");
pub(super) const PURGING_AGE: Key = used(
    "storage.maintenance.uploadpurging.age",
    Duration,
    "168h",
    "The time without a request after which an upload is abandoned.",
);
pub(super) const PURGING_INTERVAL: Key =
    used("storage.maintenance.uploadpurging.interval", Duration, "24h", "The interval of removing abandoned uploads.");
pub(super) const PURGING_DRYRUN: Key =
    used("storage.maintenance.uploadpurging.dryrun", Flag, "false", "Only logs the uploads that would be removed.");
pub(super) const READONLY_ENABLED: Key =
    used("storage.maintenance.readonly.enabled", Flag, "false", "Refuses every push and delete.");

// auth
pub(super) const AUTH: Key = used("auth", Opaque, "", "The users, and their permissions.");
pub(super) const HTPASSWD_REALM: Key =
    used("auth.htpasswd.realm", Text, "", "The realm in challenges, which clients show.");
pub(super) const HTPASSWD_PATH: Key = used(
    "auth.htpasswd.path",
    Path,
    "",
    "The file of users, with passwords hashed by bcrypt; created if it is missing.",
);
pub(super) const AUTH_GROUPS: Key = used(
    "auth.groups",
    Opaque,
    "",
    "Names of groups, each with a list of users; rules name them `group:NAME`. Extension.",
);
pub(super) const AUTH_ACCESS: Key = used(
    "auth.access",
    List,
    "",
    "Rules, each with `who` (users, group:NAME, anonymous, authenticated), `may` (pull, push, delete, manage) and `where` \
     (patterns of repository names). What no rule allows is denied; without rules, every user may do everything. \
     Extension.",
);
pub(super) const AUTH_TOKENLIFETIME: Key = used(
    "auth.tokenlifetime",
    Duration,
    "30m",
    "The lifetime of the tokens that are issued here where rules allow `anonymous` something. Extension.",
);
pub(super) const TOKEN_REALM: Key = used("auth.token.realm", Url, "", "The URL of the token service.");
pub(super) const TOKEN_SERVICE: Key =
    used("auth.token.service", Text, "", "The service that tokens are requested for, and must be issued for.");
pub(super) const TOKEN_ISSUER: Key = used("auth.token.issuer", Text, "", "The required issuer of tokens.");
pub(super) const TOKEN_BUNDLE: Key = used(
    "auth.token.rootcertbundle",
    Path,
    "",
    "The certificates that are trusted as signers, and as roots of signers.",
);
pub(super) const TOKEN_JWKS: Key =
    used("auth.token.jwks", Path, "", "The keys that sign tokens, as a JSON Web Key Set.");
pub(super) const TOKEN_ALGORITHMS: Key = used(
    "auth.token.signingalgorithms",
    List,
    "",
    "The accepted signature algorithms, of RS256 to RS512, PS256 to PS512, ES256, ES384 and EdDSA. Empty: all of \
     these.",
);
pub(super) const TOKEN_AUTOREDIRECT: Key =
    used("auth.token.autoredirect", Flag, "false", "Uses a realm on the host that the client asked.");
pub(super) const TOKEN_AUTOREDIRECTPATH: Key =
    used("auth.token.autoredirectpath", Text, "/auth/token/", "The path of that realm.");

// proxy
pub(super) const PROXY_ENABLED: Key =
    used("proxy.enabled", Flag, "true", "Mirrors an upstream; false: a registry only. Extension.");
pub(super) const PROXY_REMOTEURL: Key =
    used("proxy.remoteurl", Url, "https://registry-1.docker.io", "The registry that is mirrored as docker.io.");
pub(super) const PROXY_USERNAME: Key = used("proxy.username", Text, "", "The user name for the upstream.");
pub(super) const PROXY_PASSWORD: Key =
    Key { secret: true, ..used("proxy.password", Text, "", "That user's password.") };
pub(super) const PROXY_REALM: Key = used(
    "proxy.realm",
    Url,
    "",
    "A token service on another domain than the upstream's that may be asked, with the password. Extension.",
);
pub(super) const PROXY_REDIRECTS: Key = used(
    "proxy.redirects",
    List,
    "",
    "Hosts, with :port where it matters, that upstreams may redirect to even if their addresses are private. \
     Extension.",
);
pub(super) const PROXY_PASSWORDFILE: Key = used(
    "proxy.passwordfile",
    Path,
    "",
    "A file with the password in place of `proxy.password`, such as a mounted secret. Extension.",
);
pub(super) const PROXY_EXEC_COMMAND: Key = used(
    "proxy.exec.command",
    Path,
    "",
    "A docker credential helper that prints user and password for the upstream, called with `get`.",
);
pub(super) const PROXY_EXEC_LIFETIME: Key = used(
    "proxy.exec.lifetime",
    Duration,
    "0",
    "The time for which its output is used; 0: until the upstream refuses it.",
);
pub(super) const PROXY_FRESHNESS: Key = used(
    "proxy.freshness",
    Duration,
    "1m",
    "The time for which a mirrored tag is served without asking the upstream. Extension.",
);
pub(super) const PROXY_FRESHNESSMAX: Key = used(
    "proxy.freshnessmax",
    Duration,
    "6h",
    "The longest time for which a mirrored tag is served without asking, as the upstream's pull limit is used up. \
     Extension.",
);
pub(super) const PROXY_RESERVE: Key = used(
    "proxy.reserve",
    Share,
    "10%",
    "The part of an upstream's pull limit that is left to what is not cached. Extension.",
);
pub(super) const PROXY_PREFETCH: Key = used(
    "proxy.prefetch",
    Flag,
    "true",
    "The first request for a layer of an image begins to fetch its other layers. Extension.",
);
pub(super) const PROXY_TTL: Key = used(
    "proxy.ttl",
    Duration,
    "0",
    "The time after its last use at which mirrored content is removed; 0: never for that reason.",
);
pub(super) const PROXY_PUSH: Key = used(
    "proxy.push",
    Flag,
    "",
    "Accepts pushes. Unset: true, but false with `proxy.remoteurl`, since such a `registry:2` accepts none. \
     Extension.",
);
pub(super) const PROXY_HOSTED: Key = used(
    "proxy.hosted",
    List,
    "",
    "Patterns of repository names that are this registry's own and never requested from an upstream. Extension.",
);
pub(super) const PROXY_UNPROVEN: Key = used(
    "proxy.unproven",
    Choice(&["accept", "refuse"]),
    "accept",
    "The first push to a name while the upstream cannot be asked whether it has such a repository: accept, and \
     ask later, or refuse with 503. Extension.",
);
pub(super) const PROXY_ADOPT: Key = used(
    "proxy.adopt",
    Choice(&["ask", "cached", "pushed"]),
    "ask",
    "The content of a volume of `registry:2` with `proxy.remoteurl` but without scheduler-state.json: mirrored, \
     or pushed; ask stops the start. Extension.",
);
pub(super) const PROXY_WARM: Key = used(
    "proxy.warm",
    List,
    "",
    "Images that are fetched ahead of their pulls, for the server's own platform, such as `nginx:1.27`. Extension.",
);
pub(super) const PROXY_WARMINTERVAL: Key = used(
    "proxy.warminterval",
    Duration,
    "1h",
    "The interval of fetching the images in `proxy.warm`; 0: never. Extension.",
);

// catalog and tags
pub(super) const CATALOG_MAXENTRIES: Key =
    used("catalog.maxentries", Integer, "1000", "The most repositories on a page of the catalog.");
pub(super) const TAGS_MAXTAGS: Key =
    used("tags.maxtags", Integer, "1000", "The most tags on a page of a tag list; without `n` there are no pages.");

// validation
pub(super) const VALIDATION_ENABLED: Key = used(
    "validation.enabled",
    Flag,
    "false",
    "The old opposite of `validation.disabled`; true has precedence over it.",
);
pub(super) const VALIDATION_DISABLED: Key =
    used("validation.disabled", Flag, "false", "Accepts any URL in a pushed manifest, and any content of an index.");
pub(super) const URLS_ALLOW: Key = used(
    "validation.manifests.urls.allow",
    List,
    "",
    "Regular expressions: a layer's URL must match one. Without `allow` and `deny`, no URL is accepted.",
);
pub(super) const URLS_DENY: Key =
    used("validation.manifests.urls.deny", List, "", "Regular expressions: a layer's URL must match none.");
pub(super) const MANIFESTS_BLOBS: Key = used(
    "validation.manifests.blobs",
    Choice(&["all", "none"]),
    "all",
    "The blobs of a pushed manifest that must exist: all, or none (sparse images).",
);
pub(super) const INDEXES_PLATFORMS: Key = used(
    "validation.manifests.indexes.platforms",
    Choice(&["all", "none", "list"]),
    "all",
    "The manifests of a pushed index that must exist.",
);
pub(super) const INDEXES_PLATFORMLIST: Key = used(
    "validation.manifests.indexes.platformlist",
    List,
    "",
    "For `list`: the platforms whose manifests must exist, each with os and architecture. Empty: all.",
);

// immutable
pub(super) const IMMUTABLE: Key = used(
    "immutable",
    List,
    "",
    "Patterns of pushed images, such as team/**:v*, whose tags never name another manifest and cannot be deleted by \
     clients; one after ! excepts what it matches. Extension.",
);

// retention
pub(super) const RETENTION: Key = used(
    "retention",
    List,
    "",
    "Rules by which pushed tags are removed: docs/retention.md. A tag goes if some rule matches it and none of those \
     keeps it. Extension.",
);

// gc
pub(super) const GC_INTERVAL: Key =
    used("gc.interval", Duration, "24h", "The interval of garbage collection; 0: never. Extension.");
pub(super) const GC_GRACE: Key = used(
    "gc.grace",
    Duration,
    "1h",
    "The time after an upload, a mount or a HEAD in which unreferenced content is not collected. Extension.",
);
pub(super) const GC_UNTAGGED: Key =
    used("gc.untagged", Flag, "false", "Collects manifests without a tag, too. Extension.");

// verify
pub(super) const VERIFY_INTERVAL: Key = used(
    "verify.interval",
    Duration,
    "720h",
    "The time in which everything stored is hashed again once; 0: never. Extension.",
);
pub(super) const VERIFY_RATE: Key =
    used("verify.rate", Bytes, "50MB", "The most bytes a second that are read for that. Extension.");

/// A key with an effect.
pub(super) const fn used(path: &'static str, kind: ValueKind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, effect: Used, secret: false, doc }
}
