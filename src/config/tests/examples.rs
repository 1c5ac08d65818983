//! The configurations that distribution ships and documents, and common variants: each one starts, or the error says
//! why not.

use super::*;

/// The keys that a file is warned of, in its order.
fn load_with_ignored_keys(file: &str) -> (Config, Vec<String>) {
    let loaded = load(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    let keys = warnings(&loaded).iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    (loaded.config, keys)
}

/// `config-dev.yml` of distribution 2.8; its 3 has the same but for redis.
const DEV: &str = "\
version: 0.1
log:
  level: debug
  fields:
    service: registry
    environment: development
  hooks:
    - type: mail
      disabled: true
      levels:
        - panic
      options:
        smtp:
          addr: mail.example.com:25
          username: mailuser
          password: password
          insecure: true
        from: sender@example.com
        to:
          - errors@example.com
storage:
    delete:
      enabled: true
    cache:
        blobdescriptor: redis
    filesystem:
        rootdirectory: /var/lib/registry
    maintenance:
        uploadpurging:
            enabled: false
http:
    addr: :5000
    debug:
        addr: :5001
        prometheus:
            enabled: true
            path: /metrics
    headers:
        X-Content-Type-Options: [nosniff]
redis:
  addr: localhost:6379
  pool:
    maxidle: 16
    maxactive: 64
    idletimeout: 300s
  dialtimeout: 10ms
  readtimeout: 10ms
  writetimeout: 10ms
notifications:
    events:
        includereferences: true
    endpoints:
        - name: local-5003
          url: http://localhost:5003/callback
          headers:
             Authorization: [Bearer <an example token>]
          timeout: 1s
          threshold: 10
          backoff: 1s
          disabled: true
        - name: local-8083
          url: http://localhost:8083/callback
          timeout: 1s
          threshold: 10
          backoff: 1s
          disabled: true
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

#[test]
fn the_development_file() {
    let (config, keys) = load_with_ignored_keys(DEV);
    let expected = ["log.fields", "log.hooks", "storage.cache", "redis", "health"];
    assert_eq!(keys, expected);
    assert!(*config.storage.delete_enabled && !*config.storage.uploadpurging.enabled && config.proxy.push_allowed());
    let debug = &config.http.debug;
    assert_eq!(debug.addr.as_ref().unwrap().to_string(), ":5001");
    assert_eq!((*debug.prometheus, debug.path.as_str(), *debug.metrics), (true, "/metrics", false));
    assert_eq!(
        *config.http.headers,
        [Header { name: "X-Content-Type-Options".into(), values: vec!["nosniff".into()] }]
    );
}

/// The file `/etc/docker/registry/config.yml` of the registry:2 image, and `/etc/distribution` of registry:3.
#[test]
fn the_images_own_file() {
    for (more, keys) in [("", 3), ("  tag:\n    concurrencylimit: 8\n", 4)] {
        let file = format!(
            "version: 0.1\nlog:\n  fields:\n    service: registry\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  \
             filesystem:\n    rootdirectory: /var/lib/registry\n{more}http:\n  addr: :5000\n  headers:\n    \
             X-Content-Type-Options: [nosniff]\nhealth:\n  storagedriver:\n    enabled: true\n    interval: 10s\n    \
             threshold: 3\n"
        );
        let (config, ignored) = load_with_ignored_keys(&file);
        assert_eq!(ignored.len(), keys, "{ignored:?}");
        assert!(config.proxy.push_allowed());
    }
}

/// `config-example.yml`, whose htpasswd file is a directory after the package has been installed.
#[test]
fn the_example_with_users() {
    let example = format!("{DEBIAN}{AUTH}");
    let users = load(&example.replace("/etc/docker/registry", "/nowhere/at/all")).unwrap();
    assert!(matches!(*users.config.auth, Auth::Users(_)));
    let locked = load(&example.replace("/etc/docker/registry", "/")).unwrap();
    assert!(matches!(*locked.config.auth, Auth::Locked { .. }));
}

#[test]
fn a_pull_through_cache() {
    let (config, _) = load_with_ignored_keys(CACHE);
    assert!(!config.proxy.push_allowed() && *config.proxy.enabled && !*config.storage.uploadpurging.enabled);
    let config = load("version: 0.1\nproxy:\n  remoteurl: https://registry-1.docker.io\n  ttl: 168h\n").unwrap().config;
    assert!(!config.proxy.push_allowed() && config.proxy.remoteurl.is_set());
    assert_eq!(config.proxy.ttl.as_secs(), 168 * 3600);
}

/// The configuration of distribution's documentation for local development, and the one for a Mac.
#[test]
fn a_file_with_a_secret() {
    let (_, keys) = load_with_ignored_keys(
        "version: 0.1\nlog:\n  level: debug\nstorage:\n    filesystem:\n        rootdirectory: /var/lib/registry\nhttp:\n    \
         addr: localhost:5000\n    secret: asecretforlocaldevelopment\n    debug:\n        addr: localhost:5001\n",
    );
    assert_eq!(keys, ["http.secret"]);
}

/// The part of "all configuration options" that asks for no other storage, users or TLS.
const ALL: &str = "\
version: 0.1
log:
  accesslog:
    disabled: true
  level: debug
  formatter: text
loglevel: debug # deprecated: use \"log\"
storage:
  filesystem:
    rootdirectory: /var/lib/registry
    maxthreads: 100
  delete:
    enabled: false
  redirect:
    disable: false
  cache:
    blobdescriptor: redis
    blobdescriptorsize: 10000
  maintenance:
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
    readonly:
      enabled: false
middleware:
  registry:
    - name: ARegistryMiddleware
      options:
        foo: bar
http:
  addr: localhost:5000
  prefix: /my/nested/registry/
  host: https://myregistryaddress.org:5000
  secret: asecretforlocaldevelopment
  relativeurls: false
  draintimeout: 60s
  headers:
    X-Content-Type-Options: [nosniff]
  http2:
    disabled: false
  h2c:
    enabled: false
redis:
  addrs: [localhost:6379]
  password: asecret
  db: 0
  tls:
    enabled: false
health:
  file:
    - file: /path/to/checked/file
      interval: 10s
  tcp:
    - addr: redis-server.domain.com:6379
      timeout: 3s
proxy:
  remoteurl: https://registry-1.docker.io
  username: username
  password: password
validation:
  manifests:
    urls:
      allow:
        - ^https?://([^/]+\\.)*example\\.com/
      deny:
        - ^https?://www\\.example\\.com/
    indexes:
      platforms: List
      platformlist:
      - architecture: amd64
        os: linux
catalog:
  maxentries: 1000
tags:
  maxtags: 1000
";

#[test]
fn nearly_all_options() {
    let (config, keys) = load_with_ignored_keys(ALL);
    let expected = [
        "storage.filesystem.maxthreads",
        "storage.redirect",
        "storage.cache",
        "middleware",
        "http.secret",
        "http.h2c",
        "redis",
        "health",
    ];
    assert_eq!(keys, expected);
    assert_eq!(config.http.prefix.as_str(), "/my/nested/registry/");
    assert_eq!(*config.http.draintimeout, Duration::from_secs(60));
    assert_eq!(*config.validation.platforms, Platforms::List);
}

#[test]
fn other_storage_stops_the_start_and_a_token_service_does_not() {
    let s3 = "storage:\n  delete:\n    enabled: true\n  s3:\n    region: us-east-1\n    accesskey: k\n    secretkey: s\n    \
              bucket: images\n  maintenance:\n    uploadpurging:\n      enabled: false\n";
    let line = complaint(s3);
    assert!(line.starts_with("config.yml:5: storage.s3 is a storage driver that this program does not have"), "{line}");
    let token = "auth:\n  token:\n    realm: https://a/token\n    service: a\n    issuer: a\n    rootcertbundle: /b\n";
    let Auth::Token(service) = load(&format!("version: 0.1\n{token}")).unwrap().config.auth.into_value() else {
        panic!()
    };
    assert_eq!(service.rootcertbundle.as_deref(), Some(Path::new("/b")));
}

/// `docker run registry:2` as in the documentation, by variables alone.
#[test]
fn the_variables_of_the_documentation() {
    let loaded = with(&[
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/somewhere"),
        ("REGISTRY_HTTP_ADDR", "0.0.0.0:5001"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "[http://registry.example.com]"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Methods", "[HEAD,GET,OPTIONS,DELETE]"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Credentials", "[true]"),
        ("REGISTRY_HTTP_HEADERS_Access-Control-Expose-Headers", "['Docker-Content-Digest']"),
        ("REGISTRY_VALIDATION_DISABLED", "true"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true"),
    ]);
    assert_eq!(loaded.warnings, []);
    let headers = loaded.config.http.headers.value();
    assert_eq!(headers.len(), 4);
    let methods = headers.iter().find(|header| header.name.ends_with("methods")).unwrap();
    assert_eq!(methods.values, ["HEAD", "GET", "OPTIONS", "DELETE"]);
    assert!(*loaded.config.storage.readonly && !loaded.config.validation.is_on());
}
