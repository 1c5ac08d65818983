//! The endpoints of notifications.

use super::*;

const FILE: &str = "\
notifications:
  events: {includereferences: true}
  queue: 2MB
  endpoints:
    - name: a
      url: https://me:secret@hooks.example/events?token=secret
      headers:
        Authorization: [Bearer secret]
        X-Two: [one, two]
      timeout: 500ms
      threshold: 5
      backoff: 10s
      ignoredmediatypes: [application/octet-stream]
      ignore:
        mediatypes: [application/x]
        actions: [pull]
    - {name: b, url: http://b/, timeout: 0, disabled: true}
";

#[test]
fn endpoints_are_read_as_registry_2_has_them() {
    let config = load(&format!("version: 0.1\n{FILE}")).unwrap().config;
    let notifications = &config.notifications;
    assert!(*notifications.includereferences && *notifications.queue == 2_000_000);
    let [a, b] = notifications.endpoints.as_slice() else { panic!("two") };
    assert_eq!((a.name.as_str(), a.timeout, a.backoff), ("a", Duration::from_millis(500), Duration::from_secs(10)));
    assert_eq!((a.threshold, a.disabled, a.headers.len()), (5, false, 2));
    assert_eq!(a.headers[1].values, ["one", "two"]);
    assert_eq!(a.ignored_media_types, ["application/octet-stream", "application/x"]);
    assert_eq!(a.ignored_actions, ["pull"]);
    let defaults = (b.timeout, b.threshold, b.backoff, b.disabled);
    assert_eq!(defaults, (Duration::from_secs(1), 10, Duration::from_secs(1), true));
    let written = config.to_yaml();
    assert!(!written.contains("secret"), "{written}");
    let again = load(&written).unwrap().config.notifications;
    assert_eq!((again.endpoints.len(), again.endpoints[0].threshold), (2, 5));
    assert_eq!(again.endpoints[0].ignored_media_types, a.ignored_media_types);
}

#[test]
fn variables_set_endpoints() {
    let config = with(&[
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "a"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://a/"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_IGNORE_ACTIONS", "[pull, push]"),
    ]);
    assert_eq!(config.warnings, []);
    let endpoint = &config.config.notifications.endpoints[0];
    assert_eq!((endpoint.name.as_str(), endpoint.url.as_str()), ("a", "http://a/"));
    assert_eq!(endpoint.ignored_actions, ["pull", "push"]);
}

#[test]
fn a_wrong_endpoint_says_what_is_expected() {
    let endpoint = |text: &str| complaint(&format!("notifications: {{endpoints: [{text}]}}"));
    for (text, part) in [
        ("{url: 'http://a'}", "notifications.endpoints.0.name is"),
        ("{name: a}", "notifications.endpoints.0.url is"),
        ("{name: a, url: 'ftp://a'}", "expected an http or https URL"),
        ("{name: a, url: 'http://a', treshold: 1}", ".treshold is not a key"),
        ("{name: a, url: 'http://a', ignore: {action: [pull]}}", ".ignore.action is not a key"),
        ("{name: a, url: 'http://a', ignore: {actions: [pulls]}}", "some of push, pull, mount, delete"),
        ("{name: a, url: 'http://a', headers: {'a b': [c]}}", "a header's name"),
        (
            "{name: a, url: 'http://a'}, {name: a, url: 'http://b'}",
            "notifications.endpoints.1.name is \"a\"; expected each",
        ),
        ("a", "sections, each with name and url"),
    ] {
        assert!(endpoint(text).contains(part), "{text}: {}", endpoint(text));
    }
    assert!(complaint("notifications: {queue: 5kB}").contains("expected 1MB or more"));
    let secret = endpoint("{name: a, url: 'http://a', headers: {Authorization: [\"secr\\u00e9t\"]}}");
    assert!(!secret.contains("secr"), "{secret}");
}
