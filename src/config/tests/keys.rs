//! The table of keys and the printed configuration have the same keys.

use super::*;

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
    // Settings that exclude each other.
    let (users, token) = (
        "{htpasswd: {realm: r, path: /x}, access: []}",
        "{token: {realm: r, service: s, issuer: i, rootcertbundle: /b, jwks: /j}}",
    );
    let files = [
        [("REGISTRY_PROXY_PASSWORD", "b"), ("REGISTRY_AUTH", users)],
        [("REGISTRY_PROXY_PASSWORDFILE", "/etc/hostname"), ("REGISTRY_AUTH", token)],
    ];
    let files = files.map(|more| [&variables[..], &more].concat());
    let exec = vec![("REGISTRY_PROXY_EXEC_COMMAND", "/x"), ("REGISTRY_PROXY_UPSTREAMS", "ghcr.io")];
    let files: Vec<_> = files
        .iter()
        .chain([&exec])
        .map(|variables| {
            let yaml = with(variables).config.to_yaml();
            yaml::file(Path::new("x"), yaml.as_bytes()).unwrap()
        })
        .collect();
    // The keys of one upstream or endpoint are shown by the tests of `upstreams` and `notifications`.
    for key in KEYS.iter().filter(|key| !key.path.contains(".*.")) {
        let is_printed = files.iter().any(|root| root.get(key.path).is_some());
        assert_eq!(key.effect == Effect::Used, is_printed && key.kind != ValueKind::Section, "{}", key.path);
    }
}
