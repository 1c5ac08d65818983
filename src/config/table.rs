//! The table of keys: all of `registry:2`'s (distribution 2.8 and 3) and our own, one entry each.
//!
//! Recognising a file's keys and the variables' names, warning of what has no effect, refusing what would be unsafe,
//! printing and documenting: all of it reads this table. What the used ones become stands in their sections' files.

use super::keys::{
    Effect::{AliasOf, NoEffect, Refused, Used},
    Key,
    Kind::{self, Address, Choice, Driver, Duration, Flag, Integer, List, Opaque, Path, Section, Text, Url},
};

// Why something has no effect.
const STDERR: &str = "log lines go to stderr and nowhere else";
const FIELDS: &str = "log lines carry no fields of the operator's";
const INDEX: &str = "what is stored is always indexed, without another cache";
const DIRECT: &str = "blobs are always served from here, without a redirect";
const PUSHES: &str = "this version takes no pushes and no deletes";
const WHOLE: &str = "this version lists no catalog of its own";
const OWN_PACE: &str = "this program sets its own limits";
const PLUGINS: &str = "there are no middlewares here";
const REPORTS: &str = "nothing is reported to anyone here";
const EVENTS: &str = "this version sends no notifications";
const REDIS: &str = "no redis is needed here";
const CHECKS: &str = "this version has no health checks to configure";
const SCHEMA1: &str = "schema1 manifests are not served";
const LATER: &str = "this version does not know it yet";
const NO_STATE: &str = "no signed state is handed to clients";
const PLAIN: &str = "this version speaks HTTP/1.1";
const KEPT: &str = "this version keeps what it has mirrored";

// Why something is refused.
const AUTH: &str = "is set, but this version asks nobody for a password and would let everyone in; expected no auth \
    section (remove it only if a firewall or a reverse proxy keeps strangers out)";
const TLS: &str = "is set, but this version would answer in plain text; expected no http.tls section (remove it, and \
    let a reverse proxy speak TLS)";
const DRIVER: &str = "is a storage driver that this program does not have; expected storage.filesystem, with its \
    rootdirectory";

pub(super) const VERSION: Key = used("version", Text, "0.1", "The file's format. Every file must name it.");
pub(super) const ACCESSLOG_DISABLED: Key =
    used("log.accesslog.disabled", Flag, "false", "Whether to leave out the line that each request is worth.");
pub(super) const LOG_LEVEL: Key = used("log.level", Choice(&LEVELS), "info", "How much is logged.");
pub(super) const LOGLEVEL: Key =
    Key { effect: AliasOf("log.level"), ..used("loglevel", Choice(&LEVELS), "info", "Old name of `log.level`.") };
pub(super) const LOG_FORMATTER: Key =
    used("log.formatter", Choice(&["text", "json", "logstash"]), "text", "How a log line looks; logstash means json.");
pub(super) const ROOT_DIRECTORY: Key =
    used("storage.filesystem.rootdirectory", Path, "/var/lib/registry", "The directory that holds everything stored.");
pub(super) const HTTP_ADDR: Key =
    used("http.addr", Address, ":5000", "Where to listen; without a host, on every IPv6 and IPv4 address.");
pub(super) const HTTP_NET: Key = used("http.net", Choice(&["tcp"]), "tcp", "What `http.addr` is an address of.");
pub(super) const PROXY_REMOTEURL: Key =
    used("proxy.remoteurl", Url, "https://registry-1.docker.io", "The registry that is mirrored as docker.io.");
pub(super) const PROXY_USERNAME: Key = used("proxy.username", Text, "", "The user to be there.");
pub(super) const PROXY_PASSWORD: Key =
    Key { secret: true, ..used("proxy.password", Text, "", "That user's password.") };
pub(super) const PROXY_FRESHNESS: Key =
    used("proxy.freshness", Duration, "1m", "How long a mirrored tag is believed without asking again; ours.");

const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Every key, section by section. An entry for a section stands before those of its keys.
pub static KEYS: &[Key] = &[
    VERSION,
    // log
    ACCESSLOG_DISABLED,
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
    vain("storage.delete", Section, "", PUSHES, "Deleting."),
    vain("storage.delete.enabled", Flag, "false", PUSHES, "Whether manifests, tags and blobs may be deleted."),
    vain("storage.redirect", Section, "", DIRECT, "Sending clients elsewhere for blobs."),
    vain("storage.redirect.disable", Flag, "false", DIRECT, "Whether never to do it."),
    vain("storage.tag", Section, "", OWN_PACE, "Looking up tags."),
    vain("storage.tag.concurrencylimit", Integer, "", OWN_PACE, "How many tags are looked up at once."),
    vain("storage.maintenance", Section, "", PUSHES, "Housekeeping."),
    vain("storage.maintenance.uploadpurging", Section, "", PUSHES, "Removing uploads that nobody finished."),
    vain("storage.maintenance.uploadpurging.enabled", Flag, "true", PUSHES, "Whether it is done."),
    vain("storage.maintenance.uploadpurging.age", Duration, "168h", PUSHES, "How old they must be."),
    vain("storage.maintenance.uploadpurging.interval", Duration, "24h", PUSHES, "How often it is done."),
    vain("storage.maintenance.uploadpurging.dryrun", Flag, "false", PUSHES, "Whether only to say what would go."),
    vain("storage.maintenance.readonly", Section, "", PUSHES, "Refusing every write."),
    vain("storage.maintenance.readonly.enabled", Flag, "false", PUSHES, "Whether it is done."),
    // auth
    refused("auth", Opaque, "", AUTH, "Who may come in."),
    refused("auth.htpasswd.realm", Text, "", AUTH, "The name that clients are shown."),
    refused("auth.htpasswd.path", Path, "", AUTH, "The file of users, as htpasswd writes it."),
    refused("auth.token.realm", Url, "", AUTH, "Where clients get a token."),
    refused("auth.token.service", Text, "", AUTH, "The name tokens are asked for."),
    refused("auth.token.issuer", Text, "", AUTH, "Who must have made them."),
    refused("auth.token.rootcertbundle", Path, "", AUTH, "Certificates that vouch for them."),
    refused("auth.token.jwks", Path, "", AUTH, "Keys that vouch for them."),
    refused("auth.token.signingalgorithms", List, "", AUTH, "How they may be signed."),
    refused("auth.token.autoredirect", Flag, "false", AUTH, "Whether the realm is here."),
    refused("auth.token.autoredirectpath", Text, "/auth/token/", AUTH, "Where here it is."),
    refused("auth.silly.realm", Text, "", AUTH, "For tests: the name clients are shown."),
    refused("auth.silly.service", Text, "", AUTH, "For tests: the service's name."),
    // http
    HTTP_ADDR,
    HTTP_NET,
    vain("http.host", Url, "", LATER, "This registry's address as clients know it."),
    vain("http.prefix", Text, "", LATER, "A path under which everything is served."),
    Key { secret: true, ..vain("http.secret", Text, "", NO_STATE, "What state in clients' hands is signed with.") },
    vain("http.relativeurls", Flag, "false", LATER, "Whether Location headers are relative."),
    vain("http.draintimeout", Duration, "", LATER, "How long a stopping server waits for its clients."),
    refused("http.tls.certificate", Path, "", TLS, "The certificate's file."),
    refused("http.tls.key", Path, "", TLS, "Its private key's file."),
    refused("http.tls.clientcas", List, "", TLS, "Files that vouch for clients."),
    refused("http.tls.clientauth", Text, "", TLS, "How much a client must prove."),
    refused("http.tls.minimumtls", Text, "tls1.2", TLS, "The oldest version allowed."),
    refused("http.tls.ciphersuites", List, "", TLS, "The ciphers allowed."),
    refused("http.tls.letsencrypt.cachefile", Path, "", TLS, "Where certificates are kept."),
    refused("http.tls.letsencrypt.email", Text, "", TLS, "Whom to write to."),
    refused("http.tls.letsencrypt.hosts", List, "", TLS, "The names to be certified."),
    refused("http.tls.letsencrypt.directoryurl", Url, "", TLS, "Who certifies them."),
    // Misspelt here is asked for all the same.
    refused("http.tls.*", Opaque, "", TLS, "Anything else about TLS."),
    vain("http.headers", Section, "", LATER, "Headers that every answer carries."),
    vain("http.headers.*", List, "", LATER, "One header's values."),
    vain("http.debug", Section, "", LATER, "A second door, for metrics."),
    vain("http.debug.addr", Address, "", LATER, "Where it listens."),
    vain("http.debug.prometheus", Section, "", LATER, "Metrics."),
    vain("http.debug.prometheus.enabled", Flag, "false", LATER, "Whether they are served."),
    vain("http.debug.prometheus.path", Text, "/metrics", LATER, "Under which path."),
    vain("http.http2", Section, "", PLAIN, "HTTP/2."),
    vain("http.http2.disabled", Flag, "false", PLAIN, "Whether it is never spoken."),
    vain("http.h2c", Section, "", PLAIN, "HTTP/2 without TLS."),
    vain("http.h2c.enabled", Flag, "false", PLAIN, "Whether it is spoken."),
    // proxy
    PROXY_REMOTEURL,
    PROXY_USERNAME,
    PROXY_PASSWORD,
    PROXY_FRESHNESS,
    vain("proxy.ttl", Duration, "168h", KEPT, "How long mirrored content stays unused before it goes."),
    vain("proxy.cachewritetimeout", Duration, "5m", OWN_PACE, "How long storing a mirrored blob may take."),
    vain("proxy.remotenamespace", Text, "", LATER, "The part of the remote registry that is mirrored."),
    vain("proxy.exec", Section, "", LATER, "A program that knows the password."),
    vain("proxy.exec.command", Path, "", LATER, "The program."),
    vain("proxy.exec.lifetime", Duration, "", LATER, "How long its answer is believed."),
    // The rest
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
    vain("catalog", Section, "", WHOLE, "The list of repositories."),
    vain("catalog.maxentries", Integer, "1000", WHOLE, "How many a page holds at most."),
    vain("tags", Section, "", LATER, "The lists of tags."),
    vain("tags.maxtags", Integer, "1000", LATER, "How many a page holds at most."),
    vain("validation", Section, "", PUSHES, "What a pushed manifest must be like."),
    vain("validation.enabled", Flag, "", PUSHES, "Old opposite of `disabled`."),
    vain("validation.disabled", Flag, "false", PUSHES, "Whether it may be anything."),
    vain("validation.manifests", Section, "", PUSHES, "Manifests."),
    vain("validation.manifests.urls", Section, "", PUSHES, "Addresses in them."),
    vain("validation.manifests.urls.allow", List, "", PUSHES, "Expressions of which they must match one."),
    vain("validation.manifests.urls.deny", List, "", PUSHES, "Expressions of which they must match none."),
    vain("validation.manifests.indexes", Section, "", PUSHES, "Indexes."),
    vain(
        "validation.manifests.indexes.platforms",
        Choice(&["all", "none", "list"]),
        "all",
        PUSHES,
        "What must be here.",
    ),
    vain("validation.manifests.indexes.platformlist", List, "", PUSHES, "The platforms, for `list`."),
    vain("policy", Section, "", PUSHES, "What repositories may hold."),
    vain("policy.repository", Section, "", PUSHES, "One repository."),
    vain("policy.repository.classes", List, "", PUSHES, "The kinds of images it may hold."),
    vain("compatibility", Section, "", SCHEMA1, "Old formats."),
    vain("compatibility.schema1", Section, "", SCHEMA1, "Docker's first manifests."),
    vain("compatibility.schema1.enabled", Flag, "false", SCHEMA1, "Whether they are served."),
    vain("compatibility.schema1.signingkeyfile", Path, "", SCHEMA1, "The key to sign them with."),
];

const fn used(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, effect: Used, secret: false, doc }
}

const fn vain(path: &'static str, kind: Kind, default: &'static str, why: &'static str, doc: &'static str) -> Key {
    Key { effect: NoEffect(why), ..used(path, kind, default, doc) }
}

const fn refused(path: &'static str, kind: Kind, default: &'static str, why: &'static str, doc: &'static str) -> Key {
    Key { effect: Refused(why), ..used(path, kind, default, doc) }
}

const fn driver(path: &'static str, doc: &'static str) -> Key {
    refused(path, Driver, "", DRIVER, doc)
}
