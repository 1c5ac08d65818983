//! TLS, the mirror listener, limits, trusted proxies, and the exceptions for upstreams.

use super::*;

fn from(rest: &str) -> Http {
    load(&format!("version: 0.1\n{rest}")).unwrap().config.http
}

#[test]
fn listeners_have_no_tls_and_high_limits_by_default() {
    let http = with(&[]).config.http;
    assert!(http.tls.is_none() && http.mirror.is_none() && http.trusted_proxies.is_empty() && *http.http2_disabled);
    let limits = &http.limits;
    assert_eq!((*limits.manifest, *limits.headers), (Some(4 << 20), Some(64 << 10)));
    assert_eq!((*limits.connections, *limits.per_address), (Some(25_000), Some(2_500)));
    assert_eq!((*limits.requests, *limits.uploads, *limits.rate), (Some(100_000), Some(1_000), Some(10_000)));
    let seconds = |setting: &Setting<Option<Duration>>| setting.unwrap().as_secs();
    let times = (seconds(&limits.head_time), seconds(&limits.body_pause), seconds(&limits.send_pause));
    assert_eq!(times, (10, 60, 300));
}

#[test]
fn tls_is_read_as_registry_2_has_it() {
    let http = from(
        "http:\n  tls:\n    certificate: /certs/domain.crt\n    key: /certs/domain.key\n    clientcas: [/ca.pem, /b.pem]\n    \
         minimumtls: tls1.3\n    ciphersuites:\n      - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  http2:\n    disabled: false\n",
    );
    assert!(!*http.http2_disabled);
    let tls = http.tls.unwrap();
    assert_eq!((tls.certificate.to_str(), tls.key.to_str()), (Some("/certs/domain.crt"), Some("/certs/domain.key")));
    assert_eq!(*tls.client_cas, [PathBuf::from("/ca.pem"), "/b.pem".into()]);
    assert_eq!((*tls.minimum, *tls.client_auth), (MinimumTls::Tls13, ClientAuth::Required));
    assert_eq!(*tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    let variables = [
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c"),
        ("REGISTRY_HTTP_TLS_KEY", "/k"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/ca"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH", "verify-client-cert-if-given"),
    ];
    let tls = with(&variables).config.http.tls.unwrap();
    assert_eq!((*tls.client_auth, *tls.minimum, tls.client_cas.len()), (ClientAuth::IfGiven, MinimumTls::Tls12, 1));
}

#[test]
fn tls_needs_certificate_and_key() {
    for (rest, begins) in [
        ("http: {tls: {certificate: /c}}", "config.yml:2: http.tls.certificate is \"/c\"; expected http.tls.key"),
        ("http: {tls: {key: /k}}", "config.yml:2: http.tls.key is \"/k\"; expected http.tls.certificate"),
        ("http: {tls: {clientcas: [/a]}}", "config.yml:2: http.tls.clientcas is \"/a\"; expected http.tls.certificate"),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.1}}", "config.yml:2: http.tls.minimumtls is"),
        ("http: {tls: {certificate: /c, key: /k, clientauth: none}}", "config.yml:2: http.tls.clientauth is"),
    ] {
        let line = complaint(rest);
        assert!(line.starts_with(begins), "{line}");
    }
}

#[test]
fn zero_is_no_limit() {
    let keys = ["manifest", "headers", "requests", "connections", "peraddress", "uploads", "rate"];
    let times = ["headtime", "bodypause", "sendpause"];
    let lines: String = keys.iter().chain(&times).map(|key| format!("    {key}: 0\n")).collect();
    let limits = from(&format!("http:\n  limits:\n{lines}")).limits;
    let numbers = [&limits.manifest, &limits.headers, &limits.requests, &limits.connections];
    assert!(numbers.into_iter().chain([&limits.per_address, &limits.uploads, &limits.rate]).all(|each| each.is_none()));
    assert!([&limits.head_time, &limits.body_pause, &limits.send_pause].into_iter().all(|each| each.is_none()));
    for bad in ["headers: 129KiB", "manifest: big", "rate: -1", "headtime: 10", "connections: 1k"] {
        let key = bad.split(':').next().unwrap();
        let line = complaint(&format!("http: {{limits: {{{bad}}}}}"));
        assert!(line.starts_with(&format!("config.yml:2: http.limits.{key} is")), "{line}");
    }
}

#[test]
fn the_mirror_listener_and_trusted_proxies() {
    let http = from("http:\n  mirror:\n    addr: 127.0.0.1:5001\n  trustedproxies: [10.0.0.0/8, 127.0.0.1]\n");
    assert_eq!(http.mirror.as_ref().unwrap().port, 5001);
    assert!(http.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));
    let line = complaint("http: {trustedproxies: [localhost]}");
    assert!(line.contains("http.trustedproxies is \"localhost\"; expected an address or a network"), "{line}");
    let line = complaint("http: {mirror: {addr: ':5001'}}\nproxy: {enabled: false}");
    assert!(line.starts_with("config.yml:2: http.mirror.addr is"), "{line}");
}

#[test]
fn the_upstreams_exceptions() {
    let proxy =
        load("version: 0.1\nproxy: {realm: 'https://a.example/token', redirects: [CDN.example, 'b:8443']}").unwrap();
    let proxy = proxy.config.proxy;
    assert_eq!(proxy.realm.as_ref().unwrap().as_str(), "https://a.example/token");
    assert_eq!(*proxy.redirects, ["cdn.example", "b:8443"]);
    for bad in ["redirects: ['https://a/']", "redirects: ['a/b']", "redirects: ['']", "realm: a.example"] {
        let line = complaint(&format!("proxy: {{{bad}}}"));
        assert!(line.starts_with("config.yml:2: proxy.re"), "{line}");
    }
}
