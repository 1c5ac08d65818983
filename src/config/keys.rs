//! The table of all keys: those of `registry:2` (distribution 2.8 and 3), and Entrepot extensions, one entry each.
//!
//! The table drives key recognition, the names of variables, warnings about ignored keys, refusals, the printed
//! configuration and its documentation; `lookup.rs` searches it. The entries of used keys are in `used_keys.rs` and
//! `used_http_keys.rs`, the types of their values in the files of their sections.

use super::{
    key::{
        Effect::{NoEffect, Refused},
        Key,
        ValueKind::{self, Choice, Driver, Duration, Flag, Integer, List, Opaque, Path, Section, Text, Url},
    },
    used_http_keys::{
        DEBUG_ADDR, HTTP_ADDR, HTTP_DRAINTIMEOUT, HTTP_HEADERS, HTTP_HOST, HTTP_HOSTS, HTTP_METRICS, HTTP_NAMES,
        HTTP_NET, HTTP_PREFIX, HTTP_RELATIVEURLS, HTTP2_DISABLED, LIMIT_BODYPAUSE, LIMIT_CONNECTIONS, LIMIT_HEADERS,
        LIMIT_HEADTIME, LIMIT_MANIFEST, LIMIT_PERADDRESS, LIMIT_RATE, LIMIT_REQUESTS, LIMIT_SENDPAUSE, LIMIT_UPLOADS,
        MIRROR_ADDR, PROMETHEUS_ENABLED, PROMETHEUS_PATH, TLS_CERTIFICATE, TLS_CIPHERSUITES, TLS_CLIENTAUTH,
        TLS_CLIENTCAS, TLS_KEY, TLS_MINIMUM, TRUSTED_PROXIES,
    },
    used_keys::{
        ACCESSLOG_DISABLED, AUDIT_PULLS, AUTH, AUTH_ACCESS, AUTH_GROUPS, AUTH_TOKENLIFETIME, CATALOG_MAXENTRIES,
        DELETE_ENABLED, GC_GRACE, GC_INTERVAL, GC_UNTAGGED, HEADROOM, HTPASSWD_PATH, HTPASSWD_REALM, IMMUTABLE,
        INDEXES_PLATFORMLIST, INDEXES_PLATFORMS, LEASE, LOG_FORMATTER, LOG_LEVEL, LOGLEVEL, MANIFESTS_BLOBS, MAXOBJECT,
        MEMORY, PINNED, PROXY_ADOPT, PROXY_ENABLED, PROXY_EXEC_COMMAND, PROXY_EXEC_LIFETIME, PROXY_FRESHNESS,
        PROXY_FRESHNESSMAX, PROXY_HOSTED, PROXY_PASSWORD, PROXY_PASSWORDFILE, PROXY_PREFETCH, PROXY_PUSH, PROXY_REALM,
        PROXY_REDIRECTS, PROXY_REMOTEURL, PROXY_RESERVE, PROXY_TTL, PROXY_UNPROVEN, PROXY_USERNAME, PROXY_WARM,
        PROXY_WARMINTERVAL, PURGING_AGE, PURGING_DRYRUN, PURGING_ENABLED, PURGING_INTERVAL, QUOTA, READONLY_ENABLED,
        RETENTION, ROOT_DIRECTORY, TAGS_MAXTAGS, TOKEN_ALGORITHMS, TOKEN_AUTOREDIRECT, TOKEN_AUTOREDIRECTPATH,
        TOKEN_BUNDLE, TOKEN_ISSUER, TOKEN_JWKS, TOKEN_REALM, TOKEN_SERVICE, URLS_ALLOW, URLS_DENY, VALIDATION_DISABLED,
        VALIDATION_ENABLED, VERIFY_INTERVAL, VERIFY_RATE, VERSION, used,
    },
    used_notification_keys::{
        ENDPOINT_BACKOFF, ENDPOINT_DISABLED, ENDPOINT_HEADERS, ENDPOINT_IGNORE_ACTIONS, ENDPOINT_IGNORE_MEDIATYPES,
        ENDPOINT_IGNOREDMEDIATYPES, ENDPOINT_NAME, ENDPOINT_THRESHOLD, ENDPOINT_TIMEOUT, ENDPOINT_URL, ENDPOINTS,
        INCLUDE_REFERENCES, QUEUE,
    },
    used_upstream_keys::{
        PROXY_UPSTREAMS, UPSTREAM_ACCOUNTS, UPSTREAM_ALLOW, UPSTREAM_CA, UPSTREAM_DENY, UPSTREAM_ENABLED,
        UPSTREAM_EXEC_COMMAND, UPSTREAM_EXEC_LIFETIME, UPSTREAM_FRESHNESS, UPSTREAM_INSECURE, UPSTREAM_MIRRORS,
        UPSTREAM_PASSWORD, UPSTREAM_PASSWORDFILE, UPSTREAM_REALM, UPSTREAM_REDIRECTS, UPSTREAM_TTL, UPSTREAM_URL,
        UPSTREAM_USERNAME,
    },
};

// The reasons for which a key has no effect.
pub(super) const SILLY: &str =
    "lets everybody in who says anything: it is for registry:2's own tests; expected auth.htpasswd";
const STDERR: &str = "log lines go to stderr and nowhere else";
const FIELDS: &str = "log lines carry no fields of the operator's";
const INDEX: &str = "stored blobs are always indexed, without another cache";
const DIRECT: &str = "blobs are always served directly";
const OWN_PACE: &str = "this program has its own limits";
const PLUGINS: &str = "this program has no middlewares";
const REPORTS: &str = "this program reports errors in its log alone";
const REDIS: &str = "this program needs no redis";
const CHECKS: &str = "this version has no health checks to configure";
const SCHEMA1: &str = "schema1 manifests are not served";
const CLASSES: &str = "a repository may hold any kind of image";
const LATER: &str = "this version does not implement it";
const NO_STATE: &str = "no signed state is handed to clients";
const PLAIN: &str = "HTTP/2 is spoken over TLS alone";

// The reasons for which a key is refused.
const TLS: &str = "is set, but this program fetches no certificates; expected http.tls.certificate and http.tls.key, with \
    files that certbot or another program renews (they are read again when they change)";
const TLS_UNKNOWN: &str = "is not a key of this program, and TLS is no place to guess; expected certificate, key, \
    clientcas, clientauth, minimumtls or ciphersuites";
const DRIVER: &str = "is a storage driver that this program does not have; expected storage.filesystem, with its \
    rootdirectory";

/// Every key, section by section. A section's entry comes before those of its keys.
pub static KEYS: &[Key] = &[
    VERSION,
    // log
    ACCESSLOG_DISABLED,
    AUDIT_PULLS,
    LOG_LEVEL,
    LOG_FORMATTER,
    ignored("log.fields", Opaque, "", FIELDS, "Fields that every log line carries."),
    ignored("log.hooks", List, "", STDERR, "Other destinations of some log lines."),
    ignored("log.reportcaller", Flag, "false", LATER, "Names the code that a log line comes from."),
    LOGLEVEL,
    // storage
    ROOT_DIRECTORY,
    ignored("storage.filesystem.maxthreads", Integer, "100", OWN_PACE, "The most concurrent file operations."),
    driver("storage.azure", "Microsoft Azure Blob Storage."),
    driver("storage.gcs", "Google Cloud Storage."),
    driver("storage.inmemory", "Memory, for tests."),
    driver("storage.oss", "Aliyun OSS."),
    driver("storage.s3", "Amazon S3, and compatible services."),
    driver("storage.s3aws", "The same as `storage.s3`."),
    driver("storage.swift", "OpenStack Swift."),
    ignored("storage.cache", Section, "", INDEX, "A cache of blob descriptors."),
    ignored("storage.cache.blobdescriptor", Choice(&["inmemory", "redis"]), "", INDEX, "The place of that cache."),
    ignored("storage.cache.blobdescriptorsize", Integer, "10000", INDEX, "The most descriptors in it."),
    ignored("storage.cache.layerinfo", Choice(&["inmemory", "redis"]), "", INDEX, "Old name of `blobdescriptor`."),
    QUOTA,
    HEADROOM,
    MAXOBJECT,
    PINNED,
    LEASE,
    MEMORY,
    DELETE_ENABLED,
    ignored("storage.redirect", Section, "", DIRECT, "Redirects of blob requests to the storage backend."),
    ignored("storage.redirect.disable", Flag, "false", DIRECT, "Sends no redirects."),
    ignored("storage.tag", Section, "", OWN_PACE, "Tag lookups."),
    ignored("storage.tag.concurrencylimit", Integer, "", OWN_PACE, "The most concurrent tag lookups."),
    PURGING_ENABLED,
    PURGING_AGE,
    PURGING_INTERVAL,
    PURGING_DRYRUN,
    READONLY_ENABLED,
    // auth
    AUTH,
    HTPASSWD_REALM,
    HTPASSWD_PATH,
    AUTH_GROUPS,
    AUTH_ACCESS,
    AUTH_TOKENLIFETIME,
    TOKEN_REALM,
    TOKEN_SERVICE,
    TOKEN_ISSUER,
    TOKEN_BUNDLE,
    TOKEN_JWKS,
    TOKEN_ALGORITHMS,
    TOKEN_AUTOREDIRECT,
    TOKEN_AUTOREDIRECTPATH,
    refused("auth.silly.realm", Text, "", SILLY, "For tests: the realm in challenges."),
    refused("auth.silly.service", Text, "", SILLY, "For tests: the service's name."),
    // http
    HTTP_ADDR,
    HTTP_NET,
    HTTP_HOST,
    HTTP_NAMES,
    HTTP_HOSTS,
    HTTP_PREFIX,
    HTTP_RELATIVEURLS,
    HTTP_DRAINTIMEOUT,
    HTTP_HEADERS,
    Key { secret: true, ..ignored("http.secret", Text, "", NO_STATE, "The key that signs state kept by clients.") },
    TLS_CERTIFICATE,
    TLS_KEY,
    TLS_CLIENTCAS,
    TLS_CLIENTAUTH,
    TLS_MINIMUM,
    TLS_CIPHERSUITES,
    refused("http.tls.letsencrypt.cachefile", Path, "", TLS, "The file of the fetched certificates."),
    refused("http.tls.letsencrypt.email", Text, "", TLS, "The contact address."),
    refused("http.tls.letsencrypt.hosts", List, "", TLS, "The certificate's names."),
    refused("http.tls.letsencrypt.directoryurl", Url, "", TLS, "The URL of the authority."),
    // A misspelt TLS key still demands TLS, so it is refused rather than ignored.
    refused("http.tls.*", Opaque, "", TLS_UNKNOWN, "Anything else about TLS."),
    DEBUG_ADDR,
    PROMETHEUS_ENABLED,
    PROMETHEUS_PATH,
    HTTP_METRICS,
    HTTP2_DISABLED,
    MIRROR_ADDR,
    TRUSTED_PROXIES,
    LIMIT_MANIFEST,
    LIMIT_HEADERS,
    LIMIT_REQUESTS,
    LIMIT_CONNECTIONS,
    LIMIT_PERADDRESS,
    LIMIT_HEADTIME,
    LIMIT_BODYPAUSE,
    LIMIT_SENDPAUSE,
    LIMIT_UPLOADS,
    LIMIT_RATE,
    ignored("http.h2c", Section, "", PLAIN, "HTTP/2 without TLS."),
    ignored("http.h2c.enabled", Flag, "false", PLAIN, "Enables it."),
    // proxy
    PROXY_ENABLED,
    PROXY_REMOTEURL,
    PROXY_USERNAME,
    PROXY_PASSWORD,
    PROXY_REALM,
    PROXY_REDIRECTS,
    PROXY_PASSWORDFILE,
    PROXY_EXEC_COMMAND,
    PROXY_EXEC_LIFETIME,
    PROXY_FRESHNESS,
    PROXY_FRESHNESSMAX,
    PROXY_RESERVE,
    PROXY_PREFETCH,
    PROXY_PUSH,
    PROXY_HOSTED,
    PROXY_UNPROVEN,
    PROXY_ADOPT,
    PROXY_TTL,
    PROXY_WARM,
    PROXY_WARMINTERVAL,
    PROXY_UPSTREAMS,
    UPSTREAM_ENABLED,
    UPSTREAM_URL,
    UPSTREAM_MIRRORS,
    UPSTREAM_USERNAME,
    UPSTREAM_PASSWORD,
    UPSTREAM_PASSWORDFILE,
    UPSTREAM_ACCOUNTS,
    UPSTREAM_EXEC_COMMAND,
    UPSTREAM_EXEC_LIFETIME,
    UPSTREAM_CA,
    UPSTREAM_INSECURE,
    UPSTREAM_REALM,
    UPSTREAM_REDIRECTS,
    UPSTREAM_FRESHNESS,
    UPSTREAM_TTL,
    UPSTREAM_ALLOW,
    UPSTREAM_DENY,
    ignored("proxy.cachewritetimeout", Duration, "5m", OWN_PACE, "The longest time to store a mirrored blob."),
    ignored("proxy.remotenamespace", Text, "", LATER, "The part of the remote registry that is mirrored."),
    // Other sections
    ignored("middleware", Opaque, "", PLUGINS, "Plugins."),
    ignored("reporting", Opaque, "", REPORTS, "Error-reporting services."),
    INCLUDE_REFERENCES,
    QUEUE,
    ENDPOINTS,
    ENDPOINT_NAME,
    ENDPOINT_URL,
    ENDPOINT_HEADERS,
    ENDPOINT_TIMEOUT,
    ENDPOINT_THRESHOLD,
    ENDPOINT_BACKOFF,
    ENDPOINT_DISABLED,
    ENDPOINT_IGNOREDMEDIATYPES,
    ENDPOINT_IGNORE_MEDIATYPES,
    ENDPOINT_IGNORE_ACTIONS,
    ignored("redis", Section, "", REDIS, "The redis server of the cache."),
    ignored("redis.addr", Text, "", REDIS, "Its address, in distribution 2."),
    ignored("redis.addrs", List, "", REDIS, "Its addresses."),
    ignored("redis.clientname", Text, "", REDIS, "The name of the client."),
    ignored("redis.connmaxidletime", Duration, "", REDIS, "The longest idle time of a connection."),
    ignored("redis.connmaxlifetime", Duration, "", REDIS, "The longest lifetime of a connection."),
    ignored("redis.contexttimeoutenabled", Flag, "false", REDIS, "Applies the deadlines of requests."),
    ignored("redis.db", Integer, "0", REDIS, "The database in it."),
    ignored("redis.dialtimeout", Duration, "", REDIS, "The longest time to connect."),
    ignored("redis.disableidentity", Flag, "false", REDIS, "Does not send the client's identity."),
    ignored("redis.identitysuffix", Text, "", REDIS, "The suffix of that identity."),
    ignored("redis.mastername", Text, "", REDIS, "The sentinels' name for the master."),
    ignored("redis.maxactiveconns", Integer, "", REDIS, "The most connections."),
    ignored("redis.maxidleconns", Integer, "", REDIS, "The most idle connections."),
    ignored("redis.maxredirects", Integer, "", REDIS, "The most redirects."),
    ignored("redis.maxretries", Integer, "", REDIS, "The most retries."),
    ignored("redis.maxretrybackoff", Duration, "", REDIS, "The longest pause between them."),
    ignored("redis.minidleconns", Integer, "", REDIS, "The fewest idle connections."),
    ignored("redis.minretrybackoff", Duration, "", REDIS, "The shortest pause between them."),
    Key { secret: true, ..ignored("redis.password", Text, "", REDIS, "Its password.") },
    ignored("redis.pool", Section, "", REDIS, "Connections, in distribution 2."),
    ignored("redis.pool.idletimeout", Duration, "", REDIS, "The longest idle time."),
    ignored("redis.pool.maxactive", Integer, "", REDIS, "The most connections."),
    ignored("redis.pool.maxidle", Integer, "", REDIS, "The most idle connections."),
    ignored("redis.poolfifo", Flag, "false", REDIS, "Takes the oldest connection first."),
    ignored("redis.poolsize", Integer, "", REDIS, "The number of connections."),
    ignored("redis.pooltimeout", Duration, "", REDIS, "The longest wait for a connection."),
    ignored("redis.protocol", Integer, "", REDIS, "The version of the protocol."),
    ignored("redis.readonly", Flag, "false", REDIS, "Accepts replicas."),
    ignored("redis.readtimeout", Duration, "", REDIS, "The longest time to read."),
    ignored("redis.routebylatency", Flag, "false", REDIS, "Asks the nearest node."),
    ignored("redis.routerandomly", Flag, "false", REDIS, "Asks any node."),
    Key { secret: true, ..ignored("redis.sentinelpassword", Text, "", REDIS, "The sentinels' password.") },
    ignored("redis.sentinelusername", Text, "", REDIS, "The user there."),
    ignored("redis.tls", Opaque, "", REDIS, "TLS to it."),
    ignored("redis.unstableresp3", Flag, "false", REDIS, "Uses unstable features."),
    ignored("redis.username", Text, "", REDIS, "The user there."),
    ignored("redis.writetimeout", Duration, "", REDIS, "The longest time to write."),
    ignored("health", Section, "", CHECKS, "Health checks."),
    ignored("health.storagedriver", Section, "", CHECKS, "The check of the storage."),
    ignored("health.storagedriver.enabled", Flag, "false", CHECKS, "Enables it."),
    ignored("health.storagedriver.interval", Duration, "10s", CHECKS, "Its interval."),
    ignored("health.storagedriver.threshold", Integer, "3", CHECKS, "The number of failures that count."),
    ignored("health.file", List, "", CHECKS, "Files that must not exist."),
    ignored("health.http", List, "", CHECKS, "URLs that must answer."),
    ignored("health.tcp", List, "", CHECKS, "Addresses that must accept connections."),
    CATALOG_MAXENTRIES,
    TAGS_MAXTAGS,
    VALIDATION_ENABLED,
    VALIDATION_DISABLED,
    URLS_ALLOW,
    URLS_DENY,
    MANIFESTS_BLOBS,
    INDEXES_PLATFORMS,
    INDEXES_PLATFORMLIST,
    IMMUTABLE,
    RETENTION,
    GC_INTERVAL,
    GC_GRACE,
    GC_UNTAGGED,
    VERIFY_INTERVAL,
    VERIFY_RATE,
    ignored("policy", Section, "", CLASSES, "The allowed content of repositories."),
    ignored("policy.repository", Section, "", CLASSES, "The policy of all repositories."),
    ignored("policy.repository.classes", List, "", CLASSES, "The allowed classes of images."),
    ignored("compatibility", Section, "", SCHEMA1, "Old formats."),
    ignored("compatibility.schema1", Section, "", SCHEMA1, "Docker's first manifest format."),
    ignored("compatibility.schema1.enabled", Flag, "false", SCHEMA1, "Serves it."),
    ignored("compatibility.schema1.signingkeyfile", Path, "", SCHEMA1, "The key that signs it."),
];

const fn ignored(
    path: &'static str,
    kind: ValueKind,
    default: &'static str,
    why: &'static str,
    doc: &'static str,
) -> Key {
    Key { effect: NoEffect(why), ..used(path, kind, default, doc) }
}

const fn refused(
    path: &'static str,
    kind: ValueKind,
    default: &'static str,
    why: &'static str,
    doc: &'static str,
) -> Key {
    Key { effect: Refused(why), ..used(path, kind, default, doc) }
}

const fn driver(path: &'static str, doc: &'static str) -> Key {
    refused(path, Driver, "", DRIVER, doc)
}
