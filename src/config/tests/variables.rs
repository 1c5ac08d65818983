//! `REGISTRY_*` variables: the key each sets, and those that are ignored.

use super::*;

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
        ("REGISTRY_HEALTH_FILE_0_FILE", "/a"),
        ("REGISTRY_LOG_FIELDS_SERVICE", "a: b: c"),
        ("REGISTRY_PROXY_TTL", ""),
    ]);
    let mut said = warnings(&loaded);
    said.sort();
    let begins = [
        "REGISTRY_HEALTH_FILE_0_FILE: health has no effect",
        "REGISTRY_HTTP_ADR: http.adr is not a key of this program (did you mean REGISTRY_HTTP_ADDR?); the variable is",
        "REGISTRY_LOG_FIELDS_SERVICE: log.fields has no effect",
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
