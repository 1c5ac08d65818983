//! The keys for pushing: their defaults, spellings and invalid values.

use super::*;
use crate::oci::{Domain, Platform};

fn from(rest: &str) -> Config {
    load(&format!("version: 0.1\n{rest}")).unwrap().config
}

#[test]
fn the_defaults_are_those_of_registry_2() {
    let Config { http, storage, proxy, auth, catalog, tags, validation, .. } = with(&[]).config;
    assert!(*proxy.enabled && proxy.push.is_none() && proxy.push_allowed() && proxy.hosted.is_empty());
    assert!(!*storage.delete_enabled && !*storage.readonly && *auth == Auth::Open);
    let purging = &storage.uploadpurging;
    assert!(*purging.enabled && !*purging.dryrun);
    assert_eq!((*purging.age, *purging.interval), (Duration::from_hours(168), Duration::from_hours(24)));
    assert_eq!((catalog.maxentries.get(), tags.maxtags.get()), (1000, 1000));
    assert_eq!((http.prefix.as_str(), *http.net, *http.draintimeout), ("/", Net::Tcp, Duration::from_secs(8)));
    assert!(http.host.is_none() && http.names.is_empty() && http.headers.is_empty() && !*http.relativeurls);
    assert!(validation.is_on() && validation.must_be_here(None) && !validation.allows_url("https://a"));
}

#[test]
fn every_key_has_a_variable() {
    let loaded = with(&[
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "1h"),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING", "{enabled: false, dryrun: true}"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}"),
        ("REGISTRY_PROXY_ENABLED", "no"),
        ("REGISTRY_PROXY_PUSH", "false"),
        ("REGISTRY_PROXY_HOSTED", "[team/**, 'app-*']"),
        ("REGISTRY_PROXY_HOSTED_0", "crew/*"),
        ("REGISTRY_HTTP_HEADERS_X-Content-Type-Options", "[nosniff]"),
        ("REGISTRY_HTTP_HEADERS_Strict-Transport-Security_0", "max-age=3600"),
        ("REGISTRY_HTTP_PREFIX", "hub"),
        ("REGISTRY_HTTP_NET", "unix"),
        ("REGISTRY_HTTP_ADDR", "/run/registry.sock"),
        ("REGISTRY_HTTP_DRAINTIMEOUT", "0"),
        ("REGISTRY_HTTP_RELATIVEURLS", "true"),
        ("REGISTRY_HTTP_HOST", "https://registry.example:5443"),
        ("REGISTRY_HTTP_NAMES", "registry.internal"),
        ("REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW", r"['^https?://([^/]+\.)*example\.com/']"),
        ("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", "List"),
        ("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS", "linux"),
        ("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE", "amd64"),
        ("REGISTRY_CATALOG_MAXENTRIES", "10"),
        ("REGISTRY_TAGS_MAXTAGS", "20"),
    ]);
    assert_eq!(loaded.warnings, []);
    let Config { http, storage, proxy, catalog, tags, validation, .. } = &loaded.config;
    let purging = &storage.uploadpurging;
    assert!(*storage.delete_enabled && *storage.readonly && !*purging.enabled && *purging.dryrun);
    assert_eq!(*purging.age, Duration::from_hours(1));
    assert!(!*proxy.enabled && !proxy.push_allowed());
    assert_eq!(proxy.hosted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["crew/*", "app-*"]);
    let headers: Vec<_> = http.headers.iter().map(|header| (header.name.as_str(), header.values.join("|"))).collect();
    let expected =
        [("strict-transport-security", "max-age=3600".into()), ("x-content-type-options", "nosniff".to_owned())];
    assert_eq!(headers, expected);
    assert_eq!(*http.addr, Listen::Unix("/run/registry.sock".into()));
    assert_eq!((http.prefix.as_str(), *http.draintimeout), ("/hub/", Duration::ZERO));
    assert!(*http.relativeurls && http.is_named(&"registry.internal".parse().unwrap()));
    assert!(validation.allows_url("https://cdn.example.com/a") && !validation.allows_url("https://example.org/"));
    assert_eq!(*validation.platformlist, ["linux/amd64".parse::<Platform>().unwrap()]);
    assert_eq!((catalog.maxentries.get(), tags.maxtags.get()), (10, 20));

    let again = load(&loaded.config.to_yaml()).unwrap().config;
    assert_eq!(again.to_yaml(), loaded.config.to_yaml());
    assert_eq!((again.http.headers.value(), again.http.host.value()), (http.headers.value(), http.host.value()));
}

#[test]
fn an_incomplete_list_is_refused() {
    let line = complaint_of(&[("REGISTRY_VALIDATION_MANIFESTS_URLS_DENY", "[^https://[a-z]+/]")]);
    assert!(line.starts_with("REGISTRY_VALIDATION_MANIFESTS_URLS_DENY: not valid YAML: "), "{line}");
    let loaded = with(&[
        ("REGISTRY_PROXY_HOSTED", "**"),
        ("REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_0", "^https://[a-z]+/"),
        ("REGISTRY_HTTP_ADDR", "[::1]:5000"),
    ]);
    assert!(loaded.config.proxy.is_hosted(&"library/ubuntu".parse().unwrap()));
    assert_eq!(loaded.config.validation.deny[0].as_str(), "^https://[a-z]+/");
}

#[test]
fn a_cache_stays_closed_until_it_is_opened() {
    for (rest, allowed) in [
        ("proxy: {freshness: 1m}", true),
        ("proxy: {remoteurl: ''}", true),
        ("proxy: {push: false}", false),
        ("proxy: {remoteurl: 'https://registry-1.docker.io'}", false),
        ("proxy: {remoteurl: 'https://a', push: true}", true),
        ("proxy: {remoteurl: 'https://a', enabled: false}", true),
        ("proxy: {remoteurl: 'https://a', enabled: false, push: false}", false),
    ] {
        let config = from(rest);
        assert_eq!(config.proxy.push_allowed(), allowed, "{rest}");
        // The printed configuration means the same as the one it was printed from.
        let again = load(&config.to_yaml()).unwrap().config.proxy;
        assert_eq!(again.push_allowed(), allowed, "{rest}");
        assert_eq!(again.remoteurl.is_set(), config.proxy.remoteurl.is_set(), "{rest}");
    }
    assert!(from("log: ").to_yaml().contains("\n  # remoteurl: https://registry-1.docker.io/\n"));
}

#[test]
fn knows_its_own_names() {
    let own = |rest: &str, name: &str| from(rest).http.is_named(&name.parse::<Domain>().unwrap());
    assert!(own("http: {names: [registry.internal, 'a:5000']}", "A:5000"));
    assert!(!own("http: {names: [registry.internal]}", "registry.internal:5000"));
    assert!(own("http: {host: 'https://registry.example/sub'}", "registry.example"));
    assert!(own("http: {host: 'https://registry.example:443'}", "registry.example"));
    assert!(own("http: {host: 'http://registry.example:5000'}", "registry.example:5000"));
    assert!(!own("http: {host: 'http://[::1]:5000'}", "registry.example:5000"));
    assert!(!own("log: ", "docker.io"));
}

#[test]
fn a_prefix_has_slashes() {
    for (written, prefix) in [("/", "/"), ("hub", "/hub/"), ("/hub", "/hub/"), ("/a/b-c/", "/a/b-c/"), ("//", "/")] {
        assert_eq!(*from(&format!("http: {{prefix: {written}}}")).http.prefix, prefix);
    }
}

#[test]
fn urls_are_held_against_expressions() {
    let lists = |allow: &str, deny: &str| {
        from(&format!("validation: {{manifests: {{urls: {{allow: {allow}, deny: {deny}}}}}}}")).validation
    };
    let both = lists(r"['^https?://([^/]+\.)*example\.com/']", r"['^https?://www\.example\.com/']");
    assert!(both.allows_url("http://a.example.com/x") && !both.allows_url("http://www.example.com/x"));
    assert!(!both.allows_url("http://example.org/"));
    let denied = lists("", "[internal]");
    assert!(denied.allows_url("http://a") && !denied.allows_url("http://internal/"));
    assert!(!lists("[]", "[]").allows_url("http://a"));
    assert!(from("validation: {disabled: true}").validation.allows_url("http://a"));
    assert!(!from("validation: {disabled: true, enabled: true}").validation.allows_url("http://a"));
    assert!(!from("validation: {enabled: false}").validation.allows_url("http://a"));
}

#[test]
fn indexes_may_be_sparse() {
    let indexes = |rest: &str| from(&format!("validation: {{manifests: {{indexes: {{{rest}}}}}}}")).validation;
    let platform = |text: &str| text.parse::<Platform>().unwrap();
    let (amd, arm) = (platform("linux/amd64"), platform("linux/arm64/v8"));
    let (amd, arm) = (Some(&amd), Some(&arm));
    let none = indexes("platforms: none");
    assert!(!none.must_be_here(amd) && !none.must_be_here(None));
    let listed = indexes("platforms: list, platformlist: [{architecture: amd64, os: linux}]");
    assert!(listed.must_be_here(amd) && !listed.must_be_here(arm) && !listed.must_be_here(None));
    assert!(indexes("platforms: list").must_be_here(arm));
    assert!(indexes("platformlist: [{architecture: amd64, os: linux}]").must_be_here(arm));
    assert!(!from("validation: {disabled: true}").validation.must_be_here(amd));
}

#[test]
fn zero_entries_mean_the_default() {
    let config = from("catalog: {maxentries: 0}\ntags: {maxtags: 0}");
    assert_eq!((config.catalog.maxentries.get(), config.tags.maxtags.get()), (1000, 1000));
}

#[test]
fn names_invalid_values_of_these_keys() {
    for (rest, expected) in [
        (
            "proxy:\n  hosted:\n    - team/*\n    - Team/*",
            "config.yml:5: proxy.hosted is \"Team/*\"; expected a repository name such as team/app, where * may stand for \
             a part of a component and ** for any number of components",
        ),
        (
            "proxy: {hosted: a/b**}",
            "config.yml:2: proxy.hosted is \"a/b**\"; expected ** to stand alone between slashes, as in team/**",
        ),
        ("proxy: {hosted: [[a]]}", "config.yml:2: proxy.hosted is a list; expected a list of single values"),
        ("proxy: {push: perhaps}", "config.yml:2: proxy.push is \"perhaps\"; expected true or false"),
        (
            "storage: {maintenance: {uploadpurging: false}}",
            "config.yml:2: storage.maintenance.uploadpurging is a single value; expected a section of keys",
        ),
        (
            "storage: {maintenance: {uploadpurging: {interval: 0}}}",
            "config.yml:2: storage.maintenance.uploadpurging.interval is \"0\"; expected a duration longer than that",
        ),
        ("catalog: {maxentries: -1}", "config.yml:2: catalog.maxentries is \"-1\"; expected a whole number"),
        ("tags: {maxtags: many}", "config.yml:2: tags.maxtags is \"many\"; expected a whole number"),
        ("http: {prefix: /a?b}", "config.yml:2: http.prefix is \"/a?b\"; expected a path such as /my/registry/"),
        ("http: {prefix: /a/../b}", "config.yml:2: http.prefix is \"/a/../b\"; expected a path such as /my/registry/"),
        ("http: {net: udp}", "config.yml:2: http.net is \"udp\"; expected one of tcp, unix"),
        ("http: {net: unix}", "default: http.addr is \":5000\"; expected a path such as /run/registry.sock"),
        (
            "http: {names: ['a/b']}",
            "config.yml:2: http.names is \"a/b\"; expected a host, with :port where it needs one",
        ),
        (
            "http: {names: [docker.io]}",
            "config.yml:2: http.names is \"docker.io\"; expected no docker.io, which is mirrored; proxy.enabled: false \
             frees the name",
        ),
        (
            "http: {headers: [a]}",
            "config.yml:2: http.headers is a list; expected a section of header names, each with a",
        ),
        (
            "http: {headers: {'a b': [c]}}",
            "config.yml:2: http.headers is \"a b\"; expected a header's name such as X-C",
        ),
        (
            "http: {headers: {X-A: [\"b\\nc\"]}}",
            "config.yml:2: http.headers is \"b\\nc\"; expected a value for X-A of ",
        ),
        (
            "http: {headers: {Content-length: [1]}}",
            "config.yml:2: http.headers is \"Content-length\"; expected no head",
        ),
        ("http: {headers: {X-A: {b: c}}}", "config.yml:2: http.headers is a section; expected a list of single values"),
        (
            "validation: {manifests: {urls: {deny: ['(']}}}",
            "config.yml:2: validation.manifests.urls.deny is \"(\"; expected a regular expression (",
        ),
        (
            "validation: {manifests: {indexes: {platformlist: [{os: linux}]}}}",
            "config.yml:2: validation.manifests.indexes.platformlist is a section; expected platforms such as {os: ",
        ),
        (
            "validation: {manifests: {indexes: {platforms: some}}}",
            "config.yml:2: validation.manifests.indexes.platforms is \"some\"; expected one of all, none, list",
        ),
    ] {
        let line = complaint(rest);
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
    for host in ["registry.example", "https://bob@a/", "https://a/?q", "unix:///run/a"] {
        let line = complaint(&format!("http: {{host: '{host}'}}"));
        assert!(line.contains("http.host is") && line.contains("expected an http or https URL"), "{line}");
    }
}
