//! The table of all keys: those of `registry:2` (distribution 2.8 and 3), and Entrepot extensions, one entry each.
//!
//! The table drives key recognition, the names of variables, warnings about ignored keys, refusals, the printed
//! configuration and its documentation. The entries of used keys are in `known_keys.rs`, the types of their values in
//! the files of their sections.

use super::{
    keys::{
        Effect::{NoEffect, Refused},
        Key,
        Kind::{self, Choice, Driver, Duration, Flag, Integer, List, Opaque, Path, Section, Text, Url},
    },
    known_keys::{
        ACCESSLOG_DISABLED, AUDIT_PULLS, AUTH, AUTH_ACCESS, AUTH_GROUPS, AUTH_TOKENLIFETIME, CATALOG_MAXENTRIES,
        DEBUG_ADDR, DELETE_ENABLED, GC_GRACE, GC_INTERVAL, GC_UNTAGGED, HEADROOM, HTPASSWD_PATH, HTPASSWD_REALM,
        HTTP_ADDR, HTTP_DRAINTIMEOUT, HTTP_HEADERS, HTTP_HOST, HTTP_METRICS, HTTP_NAMES, HTTP_NET, HTTP_PREFIX,
        HTTP_RELATIVEURLS, HTTP2_DISABLED, INDEXES_PLATFORMLIST, INDEXES_PLATFORMS, LEASE, LIMIT_BODYPAUSE,
        LIMIT_CONNECTIONS, LIMIT_HEADERS, LIMIT_HEADTIME, LIMIT_MANIFEST, LIMIT_PERADDRESS, LIMIT_RATE, LIMIT_REQUESTS,
        LIMIT_SENDPAUSE, LIMIT_UPLOADS, LOG_FORMATTER, LOG_LEVEL, LOGLEVEL, MANIFESTS_BLOBS, MAXOBJECT, MIRROR_ADDR,
        PINNED, PROMETHEUS_ENABLED, PROMETHEUS_PATH, PROXY_ADOPT, PROXY_ENABLED, PROXY_FRESHNESS, PROXY_HOSTED,
        PROXY_PASSWORD, PROXY_PASSWORDFILE, PROXY_PUSH, PROXY_REALM, PROXY_REDIRECTS, PROXY_REMOTEURL, PROXY_TTL,
        PROXY_UNPROVEN, PROXY_USERNAME, PURGING_AGE, PURGING_DRYRUN, PURGING_ENABLED, PURGING_INTERVAL, QUOTA,
        READONLY_ENABLED, ROOT_DIRECTORY, TAGS_MAXTAGS, TLS_CERTIFICATE, TLS_CIPHERSUITES, TLS_CLIENTAUTH,
        TLS_CLIENTCAS, TLS_KEY, TLS_MINIMUM, TOKEN_ALGORITHMS, TOKEN_AUTOREDIRECT, TOKEN_AUTOREDIRECTPATH,
        TOKEN_BUNDLE, TOKEN_ISSUER, TOKEN_JWKS, TOKEN_REALM, TOKEN_SERVICE, TRUSTED_PROXIES, URLS_ALLOW, URLS_DENY,
        VALIDATION_DISABLED, VALIDATION_ENABLED, VERIFY_INTERVAL, VERIFY_RATE, VERSION, used,
    },
};

// The reasons for which a key has no effect.
pub(super) const SILLY: &str =
    "lets everybody in who says anything: it is for registry:2's own tests; expected auth.htpasswd";
const STDERR: &str = "log lines go to stderr and nowhere else";
const FIELDS: &str = "log lines carry no fields of the operator's";
const INDEX: &str = "what is stored is always indexed, without another cache";
const DIRECT: &str = "blobs are always served from here, without a redirect";
const OWN_PACE: &str = "this program sets its own limits";
const PLUGINS: &str = "there are no middlewares here";
const REPORTS: &str = "nothing is reported to anyone here";
const EVENTS: &str = "this version sends no notifications";
const REDIS: &str = "no redis is needed here";
const CHECKS: &str = "this version has no health checks to configure";
const SCHEMA1: &str = "schema1 manifests are not served";
const CLASSES: &str = "a repository may hold any kind of image";
const LATER: &str = "this version does not know it yet";
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
    vain("log.fields", Opaque, "", FIELDS, "Fields that every log line carries."),
    vain("log.hooks", List, "", STDERR, "Where else certain log lines go."),
    vain("log.reportcaller", Flag, "false", LATER, "Whether a log line names the code it comes from."),
    LOGLEVEL,
    // storage
    ROOT_DIRECTORY,
    vain("storage.filesystem.maxthreads", Integer, "100", OWN_PACE, "How many files are worked on at once."),
    driver("storage.azure", "Microsoft Azure Blob Storage."),
    driver("storage.gcs", "Google Cloud Storage."),
    driver("storage.inmemory", "Memory, for tests."),
    driver("storage.oss", "Aliyun OSS."),
    driver("storage.s3", "Amazon S3 and what is compatible."),
    driver("storage.s3aws", "The same as `storage.s3`."),
    driver("storage.swift", "OpenStack Swift."),
    vain("storage.cache", Section, "", INDEX, "A cache of what is known about blobs."),
    vain("storage.cache.blobdescriptor", Choice(&["inmemory", "redis"]), "", INDEX, "Where that cache is."),
    vain("storage.cache.blobdescriptorsize", Integer, "10000", INDEX, "How many blobs it knows."),
    vain("storage.cache.layerinfo", Choice(&["inmemory", "redis"]), "", INDEX, "Old name of `blobdescriptor`."),
    QUOTA,
    HEADROOM,
    MAXOBJECT,
    PINNED,
    LEASE,
    DELETE_ENABLED,
    vain("storage.redirect", Section, "", DIRECT, "Sending clients elsewhere for blobs."),
    vain("storage.redirect.disable", Flag, "false", DIRECT, "Whether never to do it."),
    vain("storage.tag", Section, "", OWN_PACE, "Looking up tags."),
    vain("storage.tag.concurrencylimit", Integer, "", OWN_PACE, "How many tags are looked up at once."),
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
    refused("auth.silly.realm", Text, "", SILLY, "For tests: the name clients are shown."),
    refused("auth.silly.service", Text, "", SILLY, "For tests: the service's name."),
    // http
    HTTP_ADDR,
    HTTP_NET,
    HTTP_HOST,
    HTTP_NAMES,
    HTTP_PREFIX,
    HTTP_RELATIVEURLS,
    HTTP_DRAINTIMEOUT,
    HTTP_HEADERS,
    Key { secret: true, ..vain("http.secret", Text, "", NO_STATE, "What state in clients' hands is signed with.") },
    TLS_CERTIFICATE,
    TLS_KEY,
    TLS_CLIENTCAS,
    TLS_CLIENTAUTH,
    TLS_MINIMUM,
    TLS_CIPHERSUITES,
    refused("http.tls.letsencrypt.cachefile", Path, "", TLS, "Where certificates are kept."),
    refused("http.tls.letsencrypt.email", Text, "", TLS, "Whom to write to."),
    refused("http.tls.letsencrypt.hosts", List, "", TLS, "The names to be certified."),
    refused("http.tls.letsencrypt.directoryurl", Url, "", TLS, "Who certifies them."),
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
    vain("http.h2c", Section, "", PLAIN, "HTTP/2 without TLS."),
    vain("http.h2c.enabled", Flag, "false", PLAIN, "Whether it is spoken."),
    // proxy
    PROXY_ENABLED,
    PROXY_REMOTEURL,
    PROXY_USERNAME,
    PROXY_PASSWORD,
    PROXY_REALM,
    PROXY_REDIRECTS,
    PROXY_PASSWORDFILE,
    PROXY_FRESHNESS,
    PROXY_PUSH,
    PROXY_HOSTED,
    PROXY_UNPROVEN,
    PROXY_ADOPT,
    PROXY_TTL,
    vain("proxy.cachewritetimeout", Duration, "5m", OWN_PACE, "How long storing a mirrored blob may take."),
    vain("proxy.remotenamespace", Text, "", LATER, "The part of the remote registry that is mirrored."),
    vain("proxy.exec", Section, "", LATER, "A program that knows the password."),
    vain("proxy.exec.command", Path, "", LATER, "The program."),
    vain("proxy.exec.lifetime", Duration, "", LATER, "How long its answer is believed."),
    // Other sections
    vain("middleware", Opaque, "", PLUGINS, "Code that is put in between."),
    vain("reporting", Opaque, "", REPORTS, "Services that are told of errors."),
    vain("notifications", Section, "", EVENTS, "Telling others what happens here."),
    vain("notifications.events", Section, "", EVENTS, "What they are told."),
    vain("notifications.events.includereferences", Flag, "false", EVENTS, "Whether that includes references."),
    vain("notifications.endpoints", List, "", EVENTS, "Who is told."),
    vain("redis", Section, "", REDIS, "The redis server of the cache."),
    vain("redis.addr", Text, "", REDIS, "Its address, in distribution 2."),
    vain("redis.addrs", List, "", REDIS, "Its addresses."),
    vain("redis.clientname", Text, "", REDIS, "Who we are there."),
    vain("redis.connmaxidletime", Duration, "", REDIS, "How long a connection may be idle."),
    vain("redis.connmaxlifetime", Duration, "", REDIS, "How long a connection may live."),
    vain("redis.contexttimeoutenabled", Flag, "false", REDIS, "Whether requests' deadlines count."),
    vain("redis.db", Integer, "0", REDIS, "The database in it."),
    vain("redis.dialtimeout", Duration, "", REDIS, "How long connecting may take."),
    vain("redis.disableidentity", Flag, "false", REDIS, "Whether not to say who we are."),
    vain("redis.identitysuffix", Text, "", REDIS, "What to add when saying it."),
    vain("redis.mastername", Text, "", REDIS, "The sentinels' name for the master."),
    vain("redis.maxactiveconns", Integer, "", REDIS, "Connections at most."),
    vain("redis.maxidleconns", Integer, "", REDIS, "Idle connections at most."),
    vain("redis.maxredirects", Integer, "", REDIS, "Redirects followed at most."),
    vain("redis.maxretries", Integer, "", REDIS, "Tries at most."),
    vain("redis.maxretrybackoff", Duration, "", REDIS, "The longest wait between them."),
    vain("redis.minidleconns", Integer, "", REDIS, "Idle connections at least."),
    vain("redis.minretrybackoff", Duration, "", REDIS, "The shortest wait between them."),
    Key { secret: true, ..vain("redis.password", Text, "", REDIS, "Its password.") },
    vain("redis.pool", Section, "", REDIS, "Connections, in distribution 2."),
    vain("redis.pool.idletimeout", Duration, "", REDIS, "How long one may be idle."),
    vain("redis.pool.maxactive", Integer, "", REDIS, "How many at most."),
    vain("redis.pool.maxidle", Integer, "", REDIS, "How many idle ones at most."),
    vain("redis.poolfifo", Flag, "false", REDIS, "Whether the oldest connection is taken first."),
    vain("redis.poolsize", Integer, "", REDIS, "Connections kept."),
    vain("redis.pooltimeout", Duration, "", REDIS, "How long to wait for one."),
    vain("redis.protocol", Integer, "", REDIS, "The protocol's version."),
    vain("redis.readonly", Flag, "false", REDIS, "Whether replicas will do."),
    vain("redis.readtimeout", Duration, "", REDIS, "How long reading may take."),
    vain("redis.routebylatency", Flag, "false", REDIS, "Whether the nearest node is asked."),
    vain("redis.routerandomly", Flag, "false", REDIS, "Whether any node is asked."),
    Key { secret: true, ..vain("redis.sentinelpassword", Text, "", REDIS, "The sentinels' password.") },
    vain("redis.sentinelusername", Text, "", REDIS, "The user there."),
    vain("redis.tls", Opaque, "", REDIS, "TLS to it."),
    vain("redis.unstableresp3", Flag, "false", REDIS, "Whether unfinished features are used."),
    vain("redis.username", Text, "", REDIS, "The user there."),
    vain("redis.writetimeout", Duration, "", REDIS, "How long writing may take."),
    vain("health", Section, "", CHECKS, "What is looked at to tell whether all is well."),
    vain("health.storagedriver", Section, "", CHECKS, "The storage."),
    vain("health.storagedriver.enabled", Flag, "false", CHECKS, "Whether it is looked at."),
    vain("health.storagedriver.interval", Duration, "10s", CHECKS, "How often."),
    vain("health.storagedriver.threshold", Integer, "3", CHECKS, "How many failures count."),
    vain("health.file", List, "", CHECKS, "Files that must not be there."),
    vain("health.http", List, "", CHECKS, "Addresses that must answer."),
    vain("health.tcp", List, "", CHECKS, "Addresses that must accept."),
    CATALOG_MAXENTRIES,
    TAGS_MAXTAGS,
    VALIDATION_ENABLED,
    VALIDATION_DISABLED,
    URLS_ALLOW,
    URLS_DENY,
    MANIFESTS_BLOBS,
    INDEXES_PLATFORMS,
    INDEXES_PLATFORMLIST,
    GC_INTERVAL,
    GC_GRACE,
    GC_UNTAGGED,
    VERIFY_INTERVAL,
    VERIFY_RATE,
    vain("policy", Section, "", CLASSES, "What repositories may hold."),
    vain("policy.repository", Section, "", CLASSES, "One repository."),
    vain("policy.repository.classes", List, "", CLASSES, "The kinds of images it may hold."),
    vain("compatibility", Section, "", SCHEMA1, "Old formats."),
    vain("compatibility.schema1", Section, "", SCHEMA1, "Docker's first manifests."),
    vain("compatibility.schema1.enabled", Flag, "false", SCHEMA1, "Whether they are served."),
    vain("compatibility.schema1.signingkeyfile", Path, "", SCHEMA1, "The key to sign them with."),
];

const fn vain(path: &'static str, kind: Kind, default: &'static str, why: &'static str, doc: &'static str) -> Key {
    Key { effect: NoEffect(why), ..used(path, kind, default, doc) }
}

const fn refused(path: &'static str, kind: Kind, default: &'static str, why: &'static str, doc: &'static str) -> Key {
    Key { effect: Refused(why), ..used(path, kind, default, doc) }
}

const fn driver(path: &'static str, doc: &'static str) -> Key {
    refused(path, Driver, "", DRIVER, doc)
}
