//! Loads whole configurations from a file, variables and flags, and checks the result or the one-line error.

use std::{collections::HashSet, error::Error as _, io::Write as _, net::IpAddr, time::Duration};

use super::*;

mod access;
mod examples;
mod keys;
mod listeners;
mod notifications;
mod properties;
mod pushing;
mod refusals;
mod s3;
mod variables;

/// The configuration that Debian's docker-registry ships, without its last section.
const DEBIAN: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

const AUTH: &str = "\
auth:
  htpasswd:
    realm: basic-realm
    path: /etc/docker/registry
";

/// The whole of distribution's example configurations for a cache.
const CACHE: &str = "\
version: 0.1
log:
  level: debug
  fields:
    service: registry
    environment: development
storage:
    cache:
        blobdescriptor: redis
    filesystem:
        rootdirectory: /var/lib/registry-cache
    maintenance:
        uploadpurging:
            enabled: false
    tag:
      concurrencylimit: 8
http:
    addr: :5000
    secret: asecretforlocaldevelopment
    debug:
        addr: localhost:5001
    headers:
        X-Content-Type-Options: [nosniff]
redis:
  addrs: [localhost:6379]
  maxidleconns: 16
  dialtimeout: 10ms
notifications:
    events:
        includereferences: true
    endpoints:
        - name: local-8082
          url: http://localhost:5003/callback
          headers:
             Authorization: [Bearer <an example token>]
          timeout: 1s
proxy:
  remoteurl: https://registry-1.docker.io
  username: username
  password: password
health:
  storagedriver:
    enabled: true
";

fn load_with(file: Option<&[u8]>, variables: &[(&str, &str)], flags: Flags) -> Result<LoadedConfig, Error> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::parse(Blocking::in_test(), file.map(|bytes| (Path::new("config.yml"), bytes)), variables, flags)
}

fn load(file: &str) -> Result<LoadedConfig, Error> {
    load_with(Some(file.as_bytes()), &[], Flags::default())
}

fn with(variables: &[(&str, &str)]) -> LoadedConfig {
    load_with(None, variables, Flags::default()).unwrap()
}

/// The error message for a file of `version: 0.1` and `rest`.
fn complaint(rest: &str) -> String {
    let error = load(&format!("version: 0.1\n{rest}")).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn complaint_of(variables: &[(&str, &str)]) -> String {
    load_with(None, variables, Flags::default()).unwrap_err().to_string()
}

fn warnings(loaded: &LoadedConfig) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_configuration_has_defaults() {
    let loaded = with(&[]);
    let config = &loaded.config;
    assert_eq!(loaded.warnings, []);
    assert_eq!(*config.http.addr, Listen::Tcp(ListenAddress { host: None, port: 5000 }));
    assert_eq!(*config.storage.rootdirectory, Path::new("/var/lib/registry"));
    assert_eq!((*config.log.level, *config.log.formatter), (Level::Info, Formatter::Text));
    assert!(!*config.log.accesslog_disabled);
    assert_eq!(config.proxy.remoteurl.as_str(), "https://registry-1.docker.io/");
    assert_eq!((config.proxy.username.value(), config.proxy.password.value()), (&None, &None));
    assert_eq!(*config.proxy.freshness, Duration::from_secs(60));
    assert!(!config.proxy.remoteurl.is_set());
    assert_eq!(config.http.addr.origin().to_string(), "default");
}

#[test]
fn reads_a_file() {
    let loaded = load(CACHE).unwrap();
    let Config { http, storage, log, proxy, .. } = &loaded.config;
    assert_eq!(*log.level, Level::Debug);
    assert_eq!(*storage.rootdirectory, Path::new("/var/lib/registry-cache"));
    assert_eq!(storage.rootdirectory.origin().to_string(), "config.yml:11");
    assert_eq!(http.addr.to_string(), ":5000");
    assert_eq!(proxy.username.as_deref(), Some("username"));
    assert_eq!(proxy.password.as_ref().unwrap().expose(), "password");
    assert!(proxy.remoteurl.is_set());
    let said = warnings(&loaded);
    let keys: Vec<&str> = said.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let expected = ["log.fields", "storage.cache", "storage.tag", "http.secret", "redis", "health"];
    assert_eq!(keys, expected);
    assert_eq!(said[0], "config.yml:4: log.fields has no effect here: log lines carry no fields of the operator's");
}

#[test]
fn reads_the_file_of_debian_and_refuses_a_section_without_users() {
    let loaded = load(DEBIAN).unwrap();
    assert_eq!(*loaded.config.storage.rootdirectory, Path::new("/var/lib/docker-registry"));
    assert!(*loaded.config.storage.delete_enabled && *loaded.config.auth == Auth::Open);
    assert_eq!(warnings(&loaded).len(), 3);

    // The path is a directory, as on a machine with Debian's package.
    let loaded = load(&format!("{DEBIAN}{AUTH}").replace("/etc/docker/registry", "/etc")).unwrap();
    let locked = Auth::Locked { realm: "basic-realm".into(), path: "/etc".into() };
    assert_eq!(*loaded.config.auth, locked);
    let last = warnings(&loaded).pop().unwrap();
    assert!(last.starts_with("config.yml:24: auth.htpasswd.path is a directory, not a file of users: no user can"));
    assert_eq!(*load(&loaded.config.to_yaml()).unwrap().config.auth, locked);

    let loaded = load(&format!("{DEBIAN}{AUTH}").replace("/etc/docker/registry", "/etc/passwd")).unwrap();
    assert!(matches!(&*loaded.config.auth, Auth::Users(users) if users.path == Path::new("/etc/passwd")));
}

#[test]
fn yaml_aliases_are_followed_up_to_a_limit() {
    let file = "version: 0.1\nproxy: {username: &name bob, password: *name}";
    assert_eq!(load(file).unwrap().config.proxy.password.as_ref().unwrap().expose(), "bob");
    let laughs: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let line = complaint(&format!("a0: &a0 x\n{laughs}"));
    assert!(line.ends_with("nested too deep or too long for a configuration"), "{line}");
    let deep = "- ".repeat(100_000);
    assert!(complaint(&format!("a:\n  {deep}")).ends_with("nested too deep or too long for a configuration"));
}

#[test]
fn later_sources_have_precedence() {
    let file = Some("version: 0.1\nhttp: {addr: :1}\nstorage: {filesystem: {rootdirectory: /file}}".as_bytes());
    let variables = [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/variable")];
    let loaded = load_with(file, &variables, Flags::default()).unwrap().config;
    assert_eq!(loaded.http.addr.to_string(), ":1");
    assert_eq!(*loaded.storage.rootdirectory, Path::new("/variable"));
    assert_eq!(loaded.storage.rootdirectory.origin().to_string(), "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY");
    let flags = Flags { data: Some("/flag".into()) };
    let loaded = load_with(file, &variables, flags).unwrap().config;
    assert_eq!(*loaded.storage.rootdirectory, Path::new("/flag"));
    let error = loaded.storage.rootdirectory.error("a directory that can be written to");
    let expected = "--data: storage.filesystem.rootdirectory is \"/flag\"; expected a directory that can be written to";
    assert_eq!(error.to_string(), expected);
    let flags = Flags { data: Some(PathBuf::new()) };
    assert!(load_with(None, &[], flags).unwrap_err().to_string().starts_with("--data: "));
}

#[test]
fn old_names_of_keys_are_understood() {
    assert_eq!(*load("version: 0.1\nloglevel: debug").unwrap().config.log.level, Level::Debug);
    let both = load("version: 0.1\nloglevel: debug\nlog: {level: error, formatter: logstash}").unwrap();
    assert_eq!((*both.config.log.level, *both.config.log.formatter), (Level::Error, Formatter::Json));
    assert_eq!(warnings(&both), ["config.yml:3: log.formatter logstash is not known here: json is written instead"]);
}

/// All of the printed configuration, in order.
const PRINTED: &str = "\
version: 0.1
log:
  accesslog:
    disabled: false
  audit:
    pulls: false
  level: debug
  formatter: text
storage:
  filesystem:
    rootdirectory: /var/lib/registry-cache
  maxobject: \"25%\"
  pinned: []
  lease: 15m
  memory: 64MB
  delete:
    enabled: false
  maintenance:
    uploadpurging:
      enabled: false
      age: 168h
      interval: 24h
      dryrun: false
    readonly:
      enabled: false
http:
  addr: \":5000\"
  net: tcp
  names: []
  hosts: {}
  prefix: /
  relativeurls: false
  draintimeout: 8s
  headers: {X-Content-Type-Options: [nosniff]}
  http2:
    disabled: true
  trustedproxies: []
  limits:
    manifest: 4194304
    headers: 65536
    requests: 100000
    connections: 25000
    peraddress: 2500
    headtime: 10s
    bodypause: 1m
    sendpause: 5m
    uploads: 1000
    rate: 10000
  debug:
    addr: localhost:5001
    prometheus:
      enabled: true
      path: /metrics
  metrics: false
proxy:
  enabled: true
  remoteurl: https://registry-1.docker.io/
  username: username
  password: \"***\"
  redirects: []
  freshness: 1m
  freshnessmax: 6h
  reserve: \"10%\"
  prefetch: true
  ttl: 0s
  push: false
  hosted: []
  unproven: accept
  adopt: ask
  warm: []
  warminterval: 1h
  # upstreams: {}
notifications:
  events:
    includereferences: true
  queue: 256MB
  endpoints: [{name: local-8082, url: http://localhost:5003/callback, headers: {Authorization: [\"***\"]}, timeout: 1s, threshold: 10, backoff: 1s, disabled: false, ignore: {mediatypes: [], actions: []}}]
catalog:
  maxentries: 1000
tags:
  maxtags: 1000
validation:
  enabled: false
  disabled: false
  manifests:
    urls:
      allow: []
      deny: []
    blobs: all
    indexes:
      platforms: all
      platformlist: []
immutable: []
retention: []
gc:
  interval: 24h
  grace: 1h
  untagged: false
verify:
  interval: 720h
  rate: 50MB
";

#[test]
fn prints_what_it_loads() {
    let config = load(CACHE).unwrap().config;
    assert_eq!(config.to_yaml(), PRINTED);
    assert_eq!(load(PRINTED).unwrap().config.to_yaml(), PRINTED);
}

#[test]
fn shows_no_secret() {
    let mut shown = String::new();
    for remote in ["https://bob:hunter2@a/", "https://bob:hunter2@a/?", "x://bob:hunter2@a", "bob:hunter2@a"] {
        match load_with(None, &[("REGISTRY_PROXY_REMOTEURL", remote)], Flags::default()) {
            Ok(loaded) => shown += &format!("{loaded:?} {}", loaded.config.to_yaml()),
            Err(error) => shown += &format!("{error} {error:?}"),
        }
    }
    for variables in [
        [("REGISTRY_PROXY_USERNAME", "bob"), ("REGISTRY_PROXY_PASSWORD", "hunter2")],
        [("REGISTRY_PROXY_USERNAME", ""), ("REGISTRY_PROXY_PASSWORD", "hunter2")],
    ] {
        match load_with(None, &variables, Flags::default()) {
            Ok(loaded) => shown += &format!("{loaded:?} {}", loaded.config.to_yaml()),
            Err(error) => shown += &format!("{error} {error:?}"),
        }
    }
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_not_there_is_one_line() {
    let error =
        Config::load(Blocking::in_test(), Some(Path::new("nowhere/config.yml")), [], Flags::default()).unwrap_err();
    assert!(error.to_string().starts_with("nowhere/config.yml: cannot be read: No such file"), "{error}");
    assert!(error.source().is_some());
}

#[test]
fn loads_from_the_disk() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(CACHE.as_bytes()).unwrap();
    let config = Config::load(Blocking::in_test(), Some(file.path()), [], Flags::default()).unwrap().config;
    assert_eq!(*config.log.level.origin(), Origin::File { path: file.path().into(), line: 3 });
}

#[test]
fn the_table_is_sound() {
    let mut paths = HashSet::new();
    for key in KEYS {
        assert!(paths.insert(key.path), "{} stands twice", key.path);
        let names = |name: &str| name == "*" || name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(key.path.split('.').all(names), "{} could not be a variable's name", key.path);
        assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{} is not documented", key.path);
        let found = lookup::find(&key.path.split('.').collect::<Vec<_>>());
        assert!(matches!(found, lookup::KeyMatch::Key(other) if other.path == key.path));
    }
}
