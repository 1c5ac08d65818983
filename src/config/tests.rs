//! The room as a whole: a file, variables and flags in, a configuration or one line out.

use std::{collections::HashSet, error::Error as _, io::Write as _, net::IpAddr, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

mod access;
mod doors;
mod examples;
mod pushing;

/// Debian's docker-registry ships this, but for the last section.
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

/// All that distribution's examples for a cache say.
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

fn load_with(file: Option<&[u8]>, variables: &[(&str, &str)], flags: Flags) -> Result<Loaded, Error> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::parse(file.map(|bytes| (Path::new("config.yml"), bytes)), variables, flags)
}

fn load(file: &str) -> Result<Loaded, Error> {
    load_with(Some(file.as_bytes()), &[], Flags::default())
}

fn with(variables: &[(&str, &str)]) -> Loaded {
    load_with(None, variables, Flags::default()).unwrap()
}

/// The line that a file of `version: 0.1` and this comes to.
fn complaint(rest: &str) -> String {
    let error = load(&format!("version: 0.1\n{rest}")).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn complaint_of(variables: &[(&str, &str)]) -> String {
    load_with(None, variables, Flags::default()).unwrap_err().to_string()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_word_it_has_defaults() {
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
    let expected = ["log.fields", "storage.cache", "storage.tag", "http.secret", "redis", "notifications", "health"];
    assert_eq!(keys, expected);
    assert_eq!(said[0], "config.yml:4: log.fields has no effect here: log lines carry no fields of the operator's");
}

#[test]
fn reads_debian_s_file_and_lets_nobody_in() {
    let loaded = load(DEBIAN).unwrap();
    assert_eq!(*loaded.config.storage.rootdirectory, Path::new("/var/lib/docker-registry"));
    assert!(*loaded.config.storage.delete_enabled && *loaded.config.auth == Auth::Open);
    assert_eq!(warnings(&loaded).len(), 3);

    // What that path is on a machine with Debian's package.
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
fn refuses_what_would_be_unsafe_to_pass_over() {
    for (rest, begins) in [
        ("auth: htpasswd", "config.yml:2: auth.htpasswd needs both a realm and a path"),
        ("auth: {htpasswd: }", "config.yml:2: auth.htpasswd needs both"),
        ("auth: {htpasswd: {realm: r}}", "config.yml:2: auth.htpasswd needs both"),
        (
            "auth: {htpaswd: {path: /x}}",
            "config.yml:2: auth.htpaswd is not a key of this program (did you mean auth.htpasswd?)",
        ),
        ("auth: silly", "config.yml:2: auth.silly lets everybody in"),
        ("auth: {access: []}", "config.yml:2: auth says nothing that lets users in"),
        (
            "auth: {htpasswd: {realm: r, path: /x}, access: }",
            "config.yml:2: auth.access is nothing; expected rules such as",
        ),
        ("http: {tls: {certifcate: /c}}", "config.yml:2: http.tls.certifcate is not a key"),
        ("http: {tls: {letsencrypt: {cachefile: /c}}}", "config.yml:2: http.tls.letsencrypt.cachefile is set"),
        ("storage: inmemory", "config.yml:2: storage.inmemory is a storage driver"),
        ("storage:\n  s3:\n    bucket: b", "config.yml:3: storage.s3 is a storage driver"),
        ("auth: {htpasswd: {realm: r, path: /, extra: x}}", "config.yml:2: auth.htpasswd.extra is not a key"),
        ("auth: {htpasswd: {realm: r, path: /}, token: {}}", "config.yml:2: auth says nothing that lets users in"),
        ("auth: {htpasswd: {realm: \"a\\nb\", path: /}}", "config.yml:2: auth.htpasswd.realm is "),
        ("auth: {token: {realm: r, path: /}}", "config.yml:2: auth.token.path is not a key"),
        (
            "auth: {token: {realm: r, service: s, issuer: i}}",
            "config.yml:2: auth.token needs realm, service and issuer",
        ),
        (
            "auth: {token: {realm: r, service: s, issuer: i, jwks: /j}, access: []}",
            "config.yml:2: auth.access cannot stand beside auth.token",
        ),
        ("auth: {htpasswd: {path: /}}", "config.yml:2: auth.htpasswd needs both"),
        ("auth: [htpasswd]", "config.yml:2: auth is a list; expected a section of keys"),
    ] {
        let line = complaint(rest);
        assert!(line.starts_with(begins), "{line}");
    }
    for (name, text) in [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH", "silly"),
        ("REGISTRY_AUTH", "{token: {realm: https://a}}"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("registry_auth_htpasswd_path", "/auth/htpasswd"),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL", "a@b"),
        ("REGISTRY_STORAGE", "inmemory"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
    ] {
        let error = load_with(None, &[(name, text)], Flags::default()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. } | Error::Form { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
    }
    let slip = complaint_of(&[("REGISTRY_AUTH_HTPASWD_PATH", "/auth/htpasswd")]);
    assert!(slip.starts_with("REGISTRY_AUTH_HTPASWD_PATH: auth.htpaswd is not a key"), "{slip}");
    // Words without a demand, as templates leave them behind.
    load("version: 0.1\nauth:\nhttp: {tls: {certificate: '', key: }, net: tcp}\nstorage: filesystem").unwrap();
    with(&[("REGISTRY_AUTH", ""), ("REGISTRY_HTTP_TLS_KEY", ""), ("REGISTRY_STORAGE", "filesystem")]);
}

#[test]
fn names_misspelt_keys() {
    for (rest, expected) in [
        ("http:\n  adr: :5000", "config.yml:3: http.adr is not a key of this program (did you mean http.addr?)"),
        ("htttp:\n  addr: :5000", "config.yml:2: htttp is not a key of this program (did you mean http?)"),
        ("remoteurl: x", "config.yml:2: remoteurl is not a key of this program (did you mean proxy.remoteurl?)"),
        ("redis: {adrs: x}", "config.yml:2: redis.adrs is not a key of this program (did you mean redis.addrs?)"),
        ("weather: fine", "config.yml:2: weather is not a key of this program"),
        ("\"a\\nb\": fine", "config.yml:2: a\\nb is not a key of this program"),
        ("http.addr: :80", "config.yml:2: http.addr is not a key of this program (did you mean http.addr?)"),
    ] {
        assert_eq!(complaint(rest), expected);
    }
}

#[test]
fn names_bad_values() {
    for (rest, expected) in [
        ("log:\n  level: loud", "config.yml:3: log.level is \"loud\"; expected one of error, warn, info, debug"),
        ("loglevel: loud", "config.yml:2: loglevel is \"loud\"; expected one of error, warn, info, debug"),
        ("log: {formatter: xml}", "config.yml:2: log.formatter is \"xml\"; expected one of text, json, logstash"),
        (
            "log: {accesslog: {disabled: maybe}}",
            "config.yml:2: log.accesslog.disabled is \"maybe\"; expected true or false",
        ),
        (
            "http: {addr: 5000}",
            "config.yml:2: http.addr is \"5000\"; expected an address such as :5000, 127.0.0.1:5000 or [::1]:5000",
        ),
        (
            "storage: {filesystem: {rootdirectory: [a]}}",
            "config.yml:2: storage.filesystem.rootdirectory is a list; expected a path such as /var/lib/registry",
        ),
        ("proxy: yes", "config.yml:2: proxy is a single value; expected a section of keys"),
        ("proxy: {username: bob}", "config.yml:2: proxy.username is \"bob\"; expected proxy.password beside it"),
        ("proxy: {password: pw}", "config.yml:2: proxy.password is \"***\"; expected proxy.username beside it"),
        ("proxy: {password: [pw]}", "config.yml:2: proxy.password is a list; expected a single value"),
    ] {
        assert_eq!(complaint(rest), expected);
    }
    assert_eq!(
        complaint_of(&[("REGISTRY_PROXY_FRESHNESS", "soon")]),
        "REGISTRY_PROXY_FRESHNESS: proxy.freshness is \"soon\"; expected a duration such as 30s, 5m or 1h30m"
    );
    assert!(complaint_of(&[("REGISTRY_LOG_LEVEL", &"x".repeat(1000))]).len() < 200);
}

#[test]
fn a_remote_url_is_checked() {
    for bad in ["registry-1.docker.io", "ftp://a", "https://", "https://a/?q", "https://a/#f", "htps://u:secret@a/b"] {
        let line = complaint(&format!("proxy: {{remoteurl: \"{bad}\"}}"));
        assert!(line.contains("expected an http or https URL such as"), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
    assert!(complaint("proxy: {remoteurl: 'htps://u:secret@a/b'}").contains("\"htps://***@a/b\""));
}

#[test]
fn a_user_in_the_url_is_taken_out_of_it() {
    let url = ("REGISTRY_PROXY_REMOTEURL", "https://bob:p%40ss%zz@mirror.example/hub");
    let Proxy { remoteurl, username, password, .. } = with(&[url]).config.proxy;
    assert_eq!(remoteurl.as_str(), "https://mirror.example/hub");
    assert_eq!(username.as_deref(), Some("bob"));
    assert_eq!(password.as_ref().unwrap().expose(), "p@ss%zz");
    assert_eq!(password.origin().to_string(), url.0);
    let twice = complaint_of(&[url, ("REGISTRY_PROXY_USERNAME", "eve"), ("REGISTRY_PROXY_PASSWORD", "pw")]);
    assert!(twice.contains("is \"https://***@mirror.example/hub\"; expected a URL without a user"), "{twice}");
    assert!(complaint_of(&[(url.0, "https://bob@a")]).contains("expected proxy.password beside it"));
}

#[test]
fn a_file_must_be_yaml_of_version_0_1() {
    for (file, expected) in [
        ("", "config.yml: version is missing; expected a line that says version: 0.1"),
        ("# nothing\n", "config.yml: version is missing; expected a line that says version: 0.1"),
        ("log: {level: info}", "config.yml: version is missing; expected a line that says version: 0.1"),
        ("\nversion: 0.2", "config.yml:2: version is \"0.2\"; expected 0.1"),
        ("version: [0.1]", "config.yml:1: version is a list; expected a single value"),
        ("- version: 0.1", "config.yml:1: expected keys with values, such as version: 0.1"),
        ("version", "config.yml:1: expected keys with values, such as version: 0.1"),
        ("version: 0.1\n---\nversion: 0.1", "config.yml:2: a second YAML document; expected one"),
        ("version: 0.1\nhttp:\n  addr: :1\n  addr: :2", "config.yml:4: addr is given twice, first at config.yml:3"),
        ("version: 0.1\n[a]: b", "config.yml:2: a key that is not a word"),
        ("a: &a [*a]", "config.yml:1: an alias inside of what it names"),
    ] {
        assert_eq!(load(file).unwrap_err().to_string(), expected, "{file}");
    }
    for (file, begins) in [
        ("version: 0.1\nhttp:\n\taddr: :1", "config.yml:3: not valid YAML: "),
        ("version: 0.1\nhttp: {addr", "config.yml:2: not valid YAML: "),
        ("version: 0.1\nhttp: *nowhere", "config.yml:2: not valid YAML: "),
    ] {
        let line = load(file).unwrap_err().to_string();
        assert!(line.starts_with(begins), "{line}");
    }
    let line = load_with(Some(b"version: 0.1\nlog: \xff"), &[], Flags::default()).unwrap_err().to_string();
    assert_eq!(line, "config.yml:2: not text in UTF-8");
    for good in [
        "version: 0.1",
        "version: '0.1'",
        "\u{feff}version: \"0.1\"\r\nlog:\r\n  level: info\r\n",
        "--- {version: 0.1}",
    ] {
        load(good).unwrap();
    }
}

#[test]
fn aliases_are_followed_as_far_as_is_sane() {
    let file = "version: 0.1\nproxy: {username: &name bob, password: *name}";
    assert_eq!(load(file).unwrap().config.proxy.password.as_ref().unwrap().expose(), "bob");
    let laughs: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let line = complaint(&format!("a0: &a0 x\n{laughs}"));
    assert!(line.ends_with("nested too deep or too long for a configuration"), "{line}");
    let deep = "- ".repeat(100_000);
    assert!(complaint(&format!("a:\n  {deep}")).ends_with("nested too deep or too long for a configuration"));
}

#[test]
fn later_words_win() {
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
fn variables_name_keys() {
    let loaded = with(&[
        ("REGISTRY_HTTP_ADDR", " 127.0.0.1:443 "),
        ("registry_log_level", "WARN"),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "Yes"),
        ("REGISTRY_LOG_FORMATTER", "'json'"),
        ("REGISTRY_PROXY_USERNAME", "1234"),
        ("REGISTRY_PROXY_PASSWORD", "0x10 # no comment: really"),
        ("REGISTRY_STORAGE", "{filesystem: {rootdirectory: /section}}"),
        ("PATH", "/bin"),
        ("REGISTRY_", "x"),
        ("REGISTRYHTTP_ADDR", "x"),
    ]);
    let Config { http, storage, log, proxy, .. } = &loaded.config;
    let host = Some(Host::Ip(IpAddr::from([127, 0, 0, 1])));
    assert_eq!(*http.addr, Listen::Tcp(ListenAddress { host, port: 443 }));
    assert_eq!((*log.level, *log.formatter, *log.accesslog_disabled), (Level::Warn, Formatter::Json, true));
    assert_eq!(proxy.username.as_deref(), Some("1234"));
    assert_eq!(proxy.password.as_ref().unwrap().expose(), "0x10 # no comment: really");
    assert_eq!(*storage.rootdirectory, Path::new("/section"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_section_s_variable_comes_before_its_keys() {
    let loaded = with(&[
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/key"),
        ("REGISTRY_STORAGE", "filesystem"),
        ("REGISTRY_STORAGE_FILESYSTEM", "{rootdirectory: /section}"),
    ]);
    assert_eq!(*loaded.config.storage.rootdirectory, Path::new("/key"));
    assert!(complaint_of(&[("REGISTRY_PROXY", "{remoteurl")]).starts_with("REGISTRY_PROXY: not valid YAML: "));
    let line = complaint_of(&[("REGISTRY_PROXY", "https://a")]);
    assert_eq!(line, "REGISTRY_PROXY: proxy is a single value; expected a section of keys");
    assert!(complaint_of(&[("REGISTRY_HTTP", "{adr: :1}")]).starts_with("REGISTRY_HTTP: http.adr is not a key"));
}

#[test]
fn an_empty_value_is_none() {
    let file = "version: 0.1\nproxy: {username: a, password: b, remoteurl: http://a}\nlog: {level: ''}";
    let variables =
        [("REGISTRY_PROXY_USERNAME", ""), ("REGISTRY_PROXY_PASSWORD", ""), ("REGISTRY_PROXY_REMOTEURL", "")];
    let proxy = load_with(Some(file.as_bytes()), &variables, Flags::default()).unwrap().config.proxy;
    assert!(proxy.username.is_none() && proxy.password.is_none() && !proxy.remoteurl.is_set());
}

#[test]
fn variables_without_effect_only_warn() {
    let loaded = with(&[
        ("REGISTRY_HTTP_ADR", ":1"),
        ("REGISTRY_WEATHER_TODAY", "fine"),
        ("REGISTRY_VERSION", "2.8"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://a"),
        ("REGISTRY_LOG_FIELDS_SERVICE", "a: b: c"),
        ("REGISTRY_PROXY_TTL", ""),
    ]);
    let mut said = warnings(&loaded);
    said.sort();
    let begins = [
        "REGISTRY_HTTP_ADR: http.adr is not a key of this program (did you mean REGISTRY_HTTP_ADDR?); the variable is",
        "REGISTRY_LOG_FIELDS_SERVICE: log.fields has no effect",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL: notifications has no effect",
        "REGISTRY_VERSION: only a file's version is read",
        "REGISTRY_WEATHER_TODAY: weather.today is not a key of this program; the variable is ignored",
    ];
    assert_eq!(said.len(), begins.len(), "{said:?}");
    assert!(said.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{said:?}");
}

#[test]
fn variables_of_another_purpose_are_passed_over() {
    let loaded = with(&[
        ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
        ("REGISTRY_SERVICE_HOST", "10.0.0.1"),
        ("REGISTRY_SERVICE_PORT", "5000"),
        ("REGISTRY_SERVICE_PORT_HTTP_MAIN", "5000"),
        ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("REGISTRY_PORT_5000_TCP_PROTO", "tcp"),
        ("REGISTRY_PORT_5000_TCP_PORT", "5000"),
        ("REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("REGISTRY_AUTH_SERVICE_HOST", "10.0.0.1"),
        ("REGISTRY_AUTH_PORT", "tcp://10.0.0.1:5000"),
        (FILE_VARIABLE, "/etc/config.yml"),
    ]);
    assert_eq!(loaded.warnings, []);
    assert_eq!(with(&[("REGISTRY_PORT", "5000")]).warnings.len(), 1);
}

#[test]
fn old_words_are_understood() {
    assert_eq!(*load("version: 0.1\nloglevel: debug").unwrap().config.log.level, Level::Debug);
    let both = load("version: 0.1\nloglevel: debug\nlog: {level: error, formatter: logstash}").unwrap();
    assert_eq!((*both.config.log.level, *both.config.log.formatter), (Level::Error, Formatter::Json));
    assert_eq!(warnings(&both), ["config.yml:3: log.formatter logstash is not known here: json is written instead"]);
}

/// All of it, in order.
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
  ttl: 0s
  push: false
  hosted: []
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
    let error = Config::load(Some(Path::new("nowhere/config.yml")), [], Flags::default()).unwrap_err();
    assert!(error.to_string().starts_with("nowhere/config.yml: cannot be read: No such file"), "{error}");
    assert!(error.source().is_some());
}

#[test]
fn loads_from_the_disk() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(CACHE.as_bytes()).unwrap();
    let config = Config::load(Some(file.path()), [], Flags::default()).unwrap().config;
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
        let found = recognise::find(&key.path.split('.').collect::<Vec<_>>());
        assert!(matches!(found, recognise::Found::Key(other) if other.path == key.path));
    }
}

#[test]
fn every_used_key_is_printed() {
    let variables = [
        ("REGISTRY_PROXY_USERNAME", "a"),
        ("REGISTRY_PROXY_REMOTEURL", "http://a"),
        ("REGISTRY_HTTP_HOST", "http://a"),
        ("REGISTRY_HTTP_DEBUG_ADDR", ":5001"),
        ("REGISTRY_STORAGE_QUOTA", "50GB"),
        ("REGISTRY_STORAGE_HEADROOM", "1GB"),
        ("REGISTRY_HTTP_TLS", "{certificate: /c, key: /k}"),
        ("REGISTRY_HTTP_MIRROR_ADDR", ":5001"),
        ("REGISTRY_PROXY_REALM", "http://b"),
    ];
    // What cannot stand beside each other.
    let (users, token) = (
        "{htpasswd: {realm: r, path: /x}, access: []}",
        "{token: {realm: r, service: s, issuer: i, rootcertbundle: /b, jwks: /j}}",
    );
    let files = [
        [("REGISTRY_PROXY_PASSWORD", "b"), ("REGISTRY_AUTH", users)],
        [("REGISTRY_PROXY_PASSWORDFILE", "/etc/hostname"), ("REGISTRY_AUTH", token)],
    ]
    .map(|more| {
        let yaml = with(&[&variables[..], &more].concat()).config.to_yaml();
        yaml::file(Path::new("x"), yaml.as_bytes()).unwrap()
    });
    for key in KEYS {
        let is_printed = files.iter().any(|root| root.get(key.path).is_some());
        assert_eq!(key.effect == Effect::Used, is_printed && key.kind != Kind::Section, "{}", key.path);
    }
}

fn word() -> impl Strategy<Value = String> {
    let known = KEYS.iter().flat_map(|key| key.path.split('.')).collect::<Vec<_>>();
    let bits = vec![
        "{", "}", "[", "]", ": ", "- ", "\n", "\n  ", "\t", "&a ", "*a", "#", "'", "\"", "|", ">", "!!str ", "~", "? ",
    ];
    prop_oneof![3 => select(known).prop_map(str::to_owned), 3 => select(bits).prop_map(str::to_owned), 1 => "\\PC{0,3}"]
}

fn variable() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![vec(word(), 0..5).prop_map(|words| words.join("_").to_uppercase()), "\\PC*"];
    (name, prop_oneof![vec(word(), 0..6).prop_map(|words| words.concat()), any::<String>()])
        .prop_map(|(name, text)| (format!("REGISTRY_{name}"), text))
}

/// No panic, and whatever is said is one line.
fn holds(file: Option<&[u8]>, variables: Vec<(String, String)>) {
    let file = file.map(|bytes| (Path::new("config.yml"), bytes));
    match Config::parse(file, variables, Flags::default()) {
        Err(error) => assert!(!error.to_string().contains(['\n', '\r', '\u{1b}']), "{error}"),
        Ok(loaded) => {
            assert!(warnings(&loaded).iter().all(|line| !line.contains(['\n', '\r', '\u{1b}'])));
            let yaml = loaded.config.to_yaml();
            let again = load(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).config;
            assert_eq!(again.to_yaml(), yaml);
            assert_eq!(again.proxy.username.value(), loaded.config.proxy.username.value());
            assert_eq!(again.proxy.push_allowed(), loaded.config.proxy.push_allowed());
            assert_eq!(*again.auth, *loaded.config.auth);
            assert_eq!(*again.storage.rootdirectory, *loaded.config.storage.rootdirectory);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_upset_it(bytes in vec(any::<u8>(), 0..300)) {
        holds(Some(&bytes), vec![]);
    }

    #[test]
    fn no_words_upset_it(words in vec(word(), 0..40)) {
        holds(Some(format!("version: 0.1\n{}", words.concat()).as_bytes()), vec![]);
    }

    #[test]
    fn no_variables_upset_it(variables in vec(variable(), 0..6)) {
        holds(None, variables);
    }

    #[test]
    fn any_text_is_printed_so_that_it_is_read_again(username in any::<String>(), root in any::<String>()) {
        let variables = [
            ("REGISTRY_PROXY_USERNAME", username),
            ("REGISTRY_PROXY_PASSWORD", "b".to_owned()),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root),
        ];
        holds(None, variables.map(|(name, text)| (name.to_owned(), text)).to_vec());
    }
}
