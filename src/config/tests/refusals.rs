//! Refused settings and their error messages.

use super::*;

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
    // Empty sections without a demand, as templates leave them behind.
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
    let ProxyConfig { remoteurl, username, password, .. } = with(&[url]).config.proxy;
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
